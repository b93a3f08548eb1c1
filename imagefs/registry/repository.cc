#include "imagefs/registry/repository.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace drupe::imagefs::registry {
namespace {

constexpr const char* kHub = "docker.io";
constexpr const char* kHubServer = "registry-1.docker.io";

Url join(const Url& base, const std::string& path) {
    Url url = base;
    while (url.target.ends_with('/')) url.target.pop_back();
    url.target += "/v2/" + path;
    return url;
}

std::vector<std::string> scopes_of(const std::string& name, Repository::Access access) {
    if (name.empty()) return {};
    const char* actions = access == Repository::Access::kPush ? "pull,push" : "pull";
    return {fmt::format("repository:{}:{}", name, actions)};
}

/// Asks a server that may not speak TLS for its version, for nothing but to find that out.
Result<Url> probe(const Session& session, Url url) {
    HttpClient http(session.config, session.limits);
    Request request;
    request.url = join(url, "");
    const auto secure = http.send(request);
    if (secure) return url;
    const bool plain = secure.error().code == ErrorCode::kUnsupported ||
                       (session.config.is_insecure(url) && secure.error().code == ErrorCode::kIo);
    if (!plain) return secure.error();
    url.tls = false;
    return url;
}

}  // namespace

Repository::Repository(const Session& session, Url base, std::string name, Credentials credentials,
                       Access access)
    : session_(session),
      base_(std::move(base)),
      name_(std::move(name)),
      authenticator_(session.config, std::move(credentials)),
      scopes_(scopes_of(name_, access)) {}

Result<Url> find_server(const Session& session, const std::string& registry) {
    TRY_ASSIGN(Url url, Url::parse("https://" + (registry == kHub ? kHubServer : registry)));
    if (!session.config.allows_plain(url)) return url;
    // "host" alone means port 80 when it turns out to be plain.
    const bool has_port = url.authority() != url.host;
    TRY_ASSIGN(Url found, probe(session, url));
    if (!found.tls && !has_port) found.port = 80;
    return found;
}

void Repository::add_scope(const std::string& scope) {
    if (std::find(scopes_.begin(), scopes_.end(), scope) == scopes_.end()) scopes_.push_back(scope);
}

Result<std::unique_ptr<Repository>> Repository::open(const Session& session,
                                                     const std::string& registry, std::string name,
                                                     Access access) {
    TRY_ASSIGN(Url server, find_server(session, registry));
    TRY_ASSIGN(Credentials credentials, session.given ? Result<Credentials>(*session.given)
                                                      : session.credentials.find(registry));
    return std::make_unique<Repository>(session, std::move(server), std::move(name),
                                        std::move(credentials), access);
}

Url Repository::url(const std::string& path) const {
    return join(base_, name_ + "/" + path);
}

Result<Response> Repository::send(HttpClient& http, Request request) {
    std::string header = authenticator_.known(scopes_);
    // Twice refused: a token that expired, or a registry that wants another kind of answer.
    for (int i = 0; i < 3; ++i) {
        request.headers.remove("Authorization");
        // An upload's URL may be another server's, which gets nothing of ours.
        const bool ours = request.url.same_origin(base_);
        if (ours && !header.empty()) request.headers.add("Authorization", header);
        TRY_ASSIGN(Response response, http.send(request));
        if (response.status != 401 || !ours || !response.url.same_origin(base_)) return response;
        (void)read_document(response);  // so that the connection can be used again
        TRY_ASSIGN(header, authenticator_.answer(http, response, scopes_, header));
    }
    return Error{ErrorCode::kDenied,
                 fmt::format("{} gives tokens that it then refuses", base_.authority())};
}

Result<Response> Repository::send_again(HttpClient& http, const Request& request) {
    Backoff backoff(session_.retry, session_.limits.stop);
    for (;;) {
        Result<Response> response = send(http, request);
        const bool again =
            response ? is_transient(response.value().status) : is_transient(response.error());
        if (!again) return response;
        const uint64_t asked = response ? retry_after_of(response.value().headers) : 0;
        if (!backoff.wait(asked)) return response;
    }
}

Result<std::vector<std::unique_ptr<Repository>>> open_for_pull(const Session& session,
                                                               const std::string& registry,
                                                               const std::string& name) {
    using Access = Repository::Access;
    std::vector<std::unique_ptr<Repository>> all;
    const auto mirrors = session.config.mirrors.find(registry);
    if (mirrors != session.config.mirrors.end()) {
        for (const Url& mirror : mirrors->second) {
            TRY_ASSIGN(Credentials credentials, session.given
                                                    ? Result<Credentials>(Credentials{})
                                                    : session.credentials.find(mirror.authority()));
            all.push_back(std::make_unique<Repository>(session, mirror, name,
                                                       std::move(credentials), Access::kPull));
        }
    }
    auto itself = Repository::open(session, registry, name, Access::kPull);
    if (itself) {
        all.push_back(std::move(itself).value());
    } else if (all.empty()) {
        return std::move(itself).error();
    }
    return all;
}

Status check_login(const Session& session, const std::string& registry,
                   const Credentials& credentials) {
    TRY_ASSIGN(const Url server, find_server(session, registry));
    HttpClient http(session.config, session.limits);
    Repository repository(session, server, "", credentials, Repository::Access::kPull);
    Request request;
    request.url = join(server, "");
    TRY_ASSIGN(Response response, repository.send_again(http, request));
    if (response.ok()) return ok();
    return status_error(response, "log in to " + registry);
}

}  // namespace drupe::imagefs::registry
