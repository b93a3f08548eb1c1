#include "api/endpoints/progress.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>

#include "base/json_reader.h"
#include "imagefs/registry/base64.h"

namespace drupe::endpoints {
namespace {

constexpr size_t kMaxHeaderBytes = 64 << 10;

/// "1.5MB/3MB", with a bar, as Docker's clients show it.
std::string bar(uint64_t bytes, uint64_t total) {
    constexpr size_t kWidth = 50;
    const size_t filled = static_cast<size_t>(static_cast<double>(std::min(bytes, total)) /
                                              static_cast<double>(total) * kWidth);
    std::string text(filled, '=');
    if (filled < kWidth) text += '>';
    text.resize(kWidth, ' ');
    return fmt::format("[{}] {:>8.4g}MB/{:.4g}MB", text, static_cast<double>(bytes) / 1e6,
                       static_cast<double>(total) / 1e6);
}

}  // namespace

Status Progress::line(const Json& json) {
    if (!begun_) {
        TRY(call_.http.begin(200, "application/json"));
        begun_ = true;
    }
    return call_.http.write(dump(json) + "\r\n");
}

Status Progress::status(const std::string& text, const std::string& id) {
    Json json{{"status", text}};
    if (!id.empty()) json["id"] = id;
    return line(json);
}

engine::Watch Progress::layers() {
    return [this](const engine::LayerProgress& layer) {
        Json detail = Json::object();
        if (layer.total_bytes > 0) {
            detail = {{"current", layer.bytes}, {"total", layer.total_bytes}};
        }
        Json json{{"status", layer.state}, {"progressDetail", detail}};
        if (layer.total_bytes > 0) json["progress"] = bar(layer.bytes, layer.total_bytes);
        json["id"] = layer.id;
        static_cast<void>(line(json));  // a client that has gone is seen by cancelled()
    };
}

std::function<bool()> Progress::cancelled() const {
    return [fd = call_.http.client_fd()] {
        pollfd poll{fd, POLLRDHUP, 0};
        return ::poll(&poll, 1, 0) > 0 && (poll.revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0;
    };
}

Status Progress::fail(const Error& error) {
    if (!begun_) return error;
    return line({{"errorDetail", {{"message", error.message}}}, {"error", error.message}});
}

Result<engine::RegistryLogin> registry_login(const Call& call) {
    engine::RegistryLogin login;
    std::string text = call.http.request().header("x-registry-auth");
    if (text.empty()) return login;
    const Error bad{ErrorCode::kInvalid,
                    "invalid X-Registry-Auth header: base64url of a JSON object is expected"};
    if (text.size() > kMaxHeaderBytes) return bad;
    std::replace(text.begin(), text.end(), '-', '+');
    std::replace(text.begin(), text.end(), '_', '/');
    while (text.size() % 4 != 0) text += '=';
    const auto decoded = imagefs::registry::base64_decode(text);
    if (!decoded) return bad;
    const auto json = parse_json(*decoded);
    if (!json || !json.value().is_object()) return bad;
    JsonReader in(json.value(), "X-Registry-Auth");
    in.get("username", login.user);
    in.get("password", login.password);
    in.get("identitytoken", login.identity_token);
    TRY(in.status());
    return login;
}

}  // namespace drupe::endpoints
