#pragma once

#include <string>

#include "base/result.h"

namespace drupe::imagefs::registry {

/// What to identify oneself by to one registry.
struct Credentials {
    std::string user;
    std::string password;
    std::string identity_token;  ///< Instead of a password: an OAuth2 refresh token.
    [[nodiscard]] bool empty() const { return user.empty() && identity_token.empty(); }
};

/// Docker's file of credentials, config.json in $DOCKER_CONFIG or ~/.docker: `auths`, and the
/// helper programs that `credHelpers` and `credsStore` name (docker-credential-NAME).
class CredentialFile {
  public:
    explicit CredentialFile(std::string path) : path_(std::move(path)) {}
    /// At the place that the environment names.
    [[nodiscard]] static CredentialFile of_user();

    /// None at all if none are known. registry: as in a reference, "docker.io".
    [[nodiscard]] Result<Credentials> find(const std::string& registry) const;
    [[nodiscard]] Status store(const std::string& registry, const Credentials& credentials) const;
    /// kNotFound: there are none.
    [[nodiscard]] Status erase(const std::string& registry) const;
    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    std::string path_;
};

}  // namespace drupe::imagefs::registry
