// Whatever a client sends: the connection reads heads and bodies, and answers, until it is refused.

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <string_view>

#include "api/server/connection.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace drupe;
    using http::Connection;
    constexpr size_t kMaxInput = 32 << 10;  // what a socket takes at once
    if (size > kMaxInput) return 0;
    auto pair = make_socketpair(SOCK_STREAM);
    if (!pair) return 0;
    const Fd client = std::move(pair.value().first);
    if (::send(client.get(), data, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) return 0;
    ::shutdown(client.get(), SHUT_WR);
    http::Limits limits;
    limits.head_bytes = 4096;
    Connection connection(std::move(pair.value().second), limits);
    for (int requests = 0; requests < 16; ++requests) {
        if (connection.read_head() != Connection::Head::kComplete) break;
        const auto exchange = connection.begin_exchange({{"Server", "fuzz"}});
        if (!exchange) break;
        const auto body = exchange->read_whole_body(kMaxInput);
        if (body) static_cast<void>(exchange->reply(200, "text/plain", body.value()));
        if (!connection.end_exchange(*exchange)) break;
    }
    return 0;
}
