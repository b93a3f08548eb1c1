#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "imagefs/registry/credentials.h"
#include "imagefs/registry/http_client.h"

namespace drupe::imagefs::registry {

/// Answers one registry's challenges: Basic by itself, Bearer with a token from the place that the
/// challenge names (distribution's token specification), kept until it expires. Any thread.
class Authenticator {
  public:
    Authenticator(const Config& config, Credentials credentials)
        : config_(config), credentials_(std::move(credentials)) {}

    /// The Authorization header to start with; empty: none is known to be needed.
    [[nodiscard]] std::string known(const std::vector<std::string>& scopes);
    /// The header that answers what `refusal` (401) says. `refused`: the header that it refused.
    /// kDenied: there is none, with the reason.
    [[nodiscard]] Result<std::string> answer(HttpClient& http, const Response& refusal,
                                             const std::vector<std::string>& scopes,
                                             const std::string& refused);

  private:
    struct Known {
        std::string header;
        std::chrono::steady_clock::time_point until;
    };
    [[nodiscard]] Result<Known> fetch_token(HttpClient& http, const Url& origin,
                                            const Challenge& challenge,
                                            const std::vector<std::string>& scopes) const;
    [[nodiscard]] Result<Request> token_request(const Url& origin, const Challenge& challenge,
                                                const std::vector<std::string>& scopes) const;

    const Config& config_;
    const Credentials credentials_;
    Mutex mutex_;
    std::map<std::vector<std::string>, Known> known_ DRUPE_GUARDED_BY(mutex_);
};

}  // namespace drupe::imagefs::registry
