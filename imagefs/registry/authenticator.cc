#include "imagefs/registry/authenticator.h"

#include <fmt/core.h>

#include <algorithm>

#include "imagefs/oci/json.h"
#include "imagefs/registry/base64.h"

namespace drupe::imagefs::registry {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr size_t kMaxTokenBytes = 32 << 10;
constexpr uint64_t kDefaultTokenSeconds = 60;  // what the specification says
constexpr uint64_t kMaxTokenSeconds = 3600;
constexpr size_t kMaxKnown = 256;

bool is_token(std::string_view text) {
    return !text.empty() && text.size() <= kMaxTokenBytes &&
           std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

std::string basic(const Credentials& credentials) {
    return "Basic " + base64_encode(credentials.user + ":" + credentials.password);
}

const Challenge* find(const std::vector<Challenge>& challenges, std::string_view scheme) {
    const auto found =
        std::find_if(challenges.begin(), challenges.end(),
                     [&](const Challenge& challenge) { return challenge.scheme == scheme; });
    return found == challenges.end() ? nullptr : &*found;
}

std::string param(const Challenge& challenge, const char* name) {
    const auto found = challenge.params.find(name);
    return found == challenge.params.end() ? std::string() : found->second;
}

std::string form_of(const std::vector<std::pair<std::string, std::string>>& fields) {
    std::string form;
    for (const auto& [name, value] : fields) {
        form += (form.empty() ? "" : "&") + name + "=" + percent_encode(value);
    }
    return form;
}

}  // namespace

std::string Authenticator::known(const std::vector<std::string>& scopes) {
    const MutexLock lock(mutex_);
    const auto found = known_.find(scopes);
    if (found == known_.end()) return {};
    if (steady_clock::now() < found->second.until) return found->second.header;
    known_.erase(found);
    return {};
}

Result<Request> Authenticator::token_request(const Url& origin, const Challenge& challenge,
                                             const std::vector<std::string>& scopes) const {
    const std::string realm = param(challenge, "realm");
    auto url = Url::parse(realm);
    if (!url) return std::move(url).error().wrap("its token server (realm)");
    Request request;
    request.url = std::move(url).value();
    const bool may_be_plain =
        config_.is_insecure(request.url) || (!origin.tls && config_.allows_plain(request.url));
    if (!request.url.tls && !may_be_plain) {
        return Error{ErrorCode::kDenied,
                     fmt::format("its token server {} isn't encrypted", request.url.authority())};
    }
    std::vector<std::pair<std::string, std::string>> fields;
    const std::string service = param(challenge, "service");
    if (!service.empty()) fields.emplace_back("service", service);
    if (!credentials_.identity_token.empty()) {
        fields.emplace_back("grant_type", "refresh_token");
        fields.emplace_back("client_id", "drupe");
        fields.emplace_back("refresh_token", credentials_.identity_token);
        std::string all;
        for (const std::string& scope : scopes) all += (all.empty() ? "" : " ") + scope;
        if (!all.empty()) fields.emplace_back("scope", all);
        const std::string form = form_of(fields);
        request.method = "POST";
        request.headers.add("Content-Type", "application/x-www-form-urlencoded");
        request.body_bytes = form.size();
        request.body = [form]() -> Result<oci::ByteSourcePtr> {
            return oci::make_memory_source(form);
        };
        return request;
    }
    for (const std::string& scope : scopes) fields.emplace_back("scope", scope);
    if (!credentials_.empty()) {
        fields.emplace_back("account", credentials_.user);
        request.headers.add("Authorization", basic(credentials_));
    }
    const bool has_query = request.url.target.find('?') != std::string::npos;
    if (!fields.empty()) request.url.target += (has_query ? "&" : "?") + form_of(fields);
    return request;
}

Result<Authenticator::Known> Authenticator::fetch_token(
    HttpClient& http, const Url& origin, const Challenge& challenge,
    const std::vector<std::string>& scopes) const {
    const auto began = steady_clock::now();
    TRY_ASSIGN(Request request, token_request(origin, challenge, scopes));
    TRY_ASSIGN(Response response, http.send(std::move(request)));
    if (!response.ok()) return status_error(response, "get a token");
    TRY_ASSIGN(const std::string text, read_document(response));
    TRY_ASSIGN(const oci::Json json, oci::parse_json(text, "token"));
    TRY_ASSIGN(auto token, oci::string_member(json, "token"));
    TRY_ASSIGN(const auto access_token, oci::string_member(json, "access_token"));
    TRY_ASSIGN(const auto lifetime, oci::unsigned_member(json, "expires_in"));
    if (!token || token->empty()) token = access_token;
    if (!token || !is_token(*token)) {
        return Error{ErrorCode::kDenied,
                     fmt::format("{} gives no proper token", response.url.authority())};
    }
    const uint64_t lasts = std::min(lifetime.value_or(kDefaultTokenSeconds), kMaxTokenSeconds);
    // Not used in its last tenth: the clocks differ, and the request takes time.
    return Known{"Bearer " + *token, began + seconds(lasts * 9 / 10)};
}

Result<std::string> Authenticator::answer(HttpClient& http, const Response& refusal,
                                          const std::vector<std::string>& scopes,
                                          const std::string& refused) {
    const std::string where = refusal.url.authority();
    std::vector<Challenge> challenges;
    for (const std::string_view field : refusal.headers.all("WWW-Authenticate")) {
        for (Challenge& challenge : parse_challenges(field)) {
            if (challenges.size() < 32) challenges.push_back(std::move(challenge));
        }
    }
    Known answer;
    if (const Challenge* bearer = find(challenges, "bearer")) {
        auto token = fetch_token(http, refusal.url, *bearer, scopes);
        if (!token) return std::move(token).error().wrap("log in to " + where);
        answer = std::move(token).value();
    } else if (find(challenges, "basic") != nullptr) {
        if (credentials_.user.empty()) {
            return Error{ErrorCode::kDenied,
                         fmt::format("{0} wants a user and password: drupe login {0}", where)};
        }
        answer = {basic(credentials_), steady_clock::time_point::max()};
    } else {
        return Error{ErrorCode::kDenied,
                     fmt::format("{} refuses access and doesn't say how to get it", where)};
    }
    if (answer.header == refused) {
        return Error{ErrorCode::kDenied, fmt::format("{} refuses these credentials", where)};
    }
    const MutexLock lock(mutex_);
    if (known_.size() >= kMaxKnown) known_.clear();
    known_[scopes] = answer;
    return answer.header;
}

}  // namespace drupe::imagefs::registry
