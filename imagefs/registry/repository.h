#pragma once

#include <memory>
#include <string>
#include <vector>

#include "imagefs/oci/manifest.h"
#include "imagefs/registry/authenticator.h"
#include "imagefs/registry/backoff.h"
#include "imagefs/registry/http_client.h"

namespace drupe::imagefs::registry {

/// What all requests of one pull or push have in common. Outlives them.
struct Session {
    Config config;
    CredentialFile credentials;
    HttpLimits limits;
    RetryPolicy retry;
    /// For the image's own registry, instead of the file's; mirrors get none then.
    std::optional<Credentials> given{};
};

/// One repository on one server: requests with the right credentials, repeated when that makes
/// sense. Any thread, each with an HttpClient of its own.
class Repository {
  public:
    enum class Access : uint8_t { kPull, kPush };

    /// base: "https://host/prefix" of the server; name: "library/alpine".
    Repository(const Session& session, Url base, std::string name, Credentials credentials,
               Access access);
    /// Of a registry as references name it: its server, and whether that speaks TLS, is found out.
    [[nodiscard]] static Result<std::unique_ptr<Repository>> open(const Session& session,
                                                                  const std::string& registry,
                                                                  std::string name, Access access);

    /// URL of "manifests/latest" and the like.
    [[nodiscard]] Url url(const std::string& path) const;
    /// Sends and, if need be, identifies itself and sends again. Answers of any status.
    [[nodiscard]] Result<Response> send(HttpClient& http, Request request);
    /// send() until an answer isn't transient, as often as the session's policy says. A request of
    /// which the server may have taken note must not be sent so.
    [[nodiscard]] Result<Response> send_again(HttpClient& http, const Request& request);
    /// More that a request has to be allowed to do: "repository:other:pull".
    /// Before the first request.
    void add_scope(const std::string& scope);

    [[nodiscard]] std::string where() const { return base_.authority(); }
    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] const Session& session() const { return session_; }

  private:
    const Session& session_;
    Url base_;
    std::string name_;
    Authenticator authenticator_;
    std::vector<std::string> scopes_;
};

/// Where a registry is: docker.io is registry-1.docker.io; this machine and insecure hosts may be
/// without TLS.
[[nodiscard]] Result<Url> find_server(const Session& session, const std::string& registry);
/// Its mirrors, as far as they are configured, then itself: whom to ask for a repository.
[[nodiscard]] Result<std::vector<std::unique_ptr<Repository>>> open_for_pull(
    const Session& session, const std::string& registry, const std::string& name);
/// Whether credentials let one in. kDenied, with the reason.
[[nodiscard]] Status check_login(const Session& session, const std::string& registry,
                                 const Credentials& credentials);

}  // namespace drupe::imagefs::registry
