#include "imagefs/registry/http_client.h"

#include <fmt/core.h>

#include <array>

#include "imagefs/oci/json.h"

namespace drupe::imagefs::registry {
namespace {

constexpr int kMaxRedirects = 10;
constexpr uint64_t kMaxDrainBytes = 64 << 10;

bool is_redirect(unsigned status) {
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

std::string key_of(const Url& url) {
    return (url.tls ? "https://" : "http://") + url.authority();
}

/// The first error of {"errors": [{"code": ..., "message": ...}]} (distribution-spec), if any.
std::string spec_error(const std::string& text) {
    const auto json = oci::parse_json(text, "error");
    if (!json) return {};
    const auto errors = oci::array_member(json.value(), "errors");
    if (!errors || errors.value() == nullptr || errors.value()->empty()) return {};
    const auto message = oci::string_member(errors.value()->front(), "message");
    const auto code = oci::string_member(errors.value()->front(), "code");
    if (message && message.value() && !message.value()->empty()) return *message.value();
    return code && code.value() ? *code.value() : std::string();
}

}  // namespace

/// An answer's body; at its end the connection goes back to the pool.
class HttpClient::Body final : public ByteSource {
  public:
    Body(std::unique_ptr<Connection> connection, std::weak_ptr<Pool> pool, std::string key)
        : connection_(std::move(connection)), pool_(std::move(pool)), key_(std::move(key)) {}

    Result<size_t> read(std::span<std::byte> out) override {
        if (!connection_) return size_t{0};
        TRY_ASSIGN(const size_t got, connection_->read_body(out));
        if (got == 0) {
            if (const auto pool = pool_.lock(); pool && connection_->reusable()) {
                (*pool)[key_] = std::move(connection_);
            }
            connection_.reset();
        }
        return got;
    }

  private:
    std::unique_ptr<Connection> connection_;
    std::weak_ptr<Pool> pool_;
    std::string key_;
};

Result<Response> HttpClient::attempt(const Request& request,
                                     std::unique_ptr<Connection> connection) {
    RequestHead head{request.method, request.url.target, {}, request.body_bytes};
    head.headers.add("Host", request.url.authority());
    head.headers.add("User-Agent", "drupe/" DRUPE_VERSION);
    head.headers.add("Accept-Encoding", "identity");
    for (const auto& [name, value] : request.headers.fields()) head.headers.add(name, value);
    oci::ByteSourcePtr body;
    if (request.body) {
        TRY_ASSIGN(body, request.body());
    }
    Status sent = connection->send(head, body.get());
    // A server may refuse a body before it has all of it: what it says counts more.
    auto answer = connection->read_head(request.method == "HEAD");
    if (!sent && (!answer || answer.value().status < 400)) return sent.error();
    if (!answer) return std::move(answer).error();
    auto stream = std::make_unique<Body>(std::move(connection), idle_, key_of(request.url));
    if (request.method == "HEAD") {
        std::array<std::byte, 1> nothing{};
        (void)stream->read(nothing);  // its end: the connection is free again
    }
    return Response{answer.value().status, std::move(answer.value().headers), request.url,
                    std::move(stream)};
}

Result<Response> HttpClient::exchange(const Request& request) {
    const auto found = idle_->find(key_of(request.url));
    if (found != idle_->end()) {
        auto connection = std::move(found->second);
        idle_->erase(found);
        // The server may have closed it meanwhile: then a new one decides.
        auto response = attempt(request, std::move(connection));
        if (response || response.error().code != ErrorCode::kIo) return response;
    }
    TRY_ASSIGN(auto connection,
               Connection::open(request.url, config_.tls_for(request.url), limits_));
    return attempt(request, std::move(connection));
}

Status HttpClient::redirect(Request& request, const Response& response) const {
    const std::string location(response.headers.get("Location"));
    auto target = request.url.resolve(location);
    if (!target) {
        return std::move(target).error().wrap(request.url.authority() + " redirects wrongly");
    }
    Url& next = target.value();
    // Never from TLS to plain text, nor from anywhere else to this machine's own services.
    const bool may_be_plain =
        config_.is_insecure(next) || (!request.url.tls && config_.allows_plain(next));
    if (!next.tls && !may_be_plain) {
        return Error{ErrorCode::kDenied, fmt::format("{} redirects to {}, which isn't encrypted",
                                                     request.url.authority(), next.authority())};
    }
    if (!next.same_origin(request.url)) request.headers.remove("Authorization");
    request.url = std::move(next);
    return ok();
}

Result<Response> HttpClient::send(Request request) {
    const std::string origin = request.url.authority();
    for (int i = 0; i <= kMaxRedirects; ++i) {
        TRY_ASSIGN(Response response, exchange(request));
        const bool follows = request.method == "GET" || request.method == "HEAD";
        if (!follows || !is_redirect(response.status)) return response;
        TRY(redirect(request, response));
        // Its little body, if any, is read so that the connection can be used again.
        std::array<std::byte, 4096> rest{};
        for (uint64_t drained = 0; drained < kMaxDrainBytes;) {
            const auto got = response.body->read(rest);
            if (!got || got.value() == 0) break;
            drained += got.value();
        }
    }
    return Error{ErrorCode::kLimit,
                 fmt::format("{} redirects more than {} times", origin, kMaxRedirects)};
}

Result<std::string> read_document(Response& response) {
    return oci::read_all(*response.body, kMaxDocumentBytes,
                         "the answer of " + response.url.authority());
}

Error status_error(Response& response, std::string_view what) {
    const auto text = read_document(response);
    std::string why = text ? presentable(spec_error(text.value())) : std::string();
    if (!why.empty()) why = ": " + why;
    ErrorCode code = ErrorCode::kIo;
    if (response.status == 404) code = ErrorCode::kNotFound;
    if (response.status == 401 || response.status == 403) code = ErrorCode::kDenied;
    if (response.status == 429) code = ErrorCode::kLimit;
    return {code, fmt::format("{}: {} answers {}{}", what, response.url.authority(),
                              response.status, why)};
}

}  // namespace drupe::imagefs::registry
