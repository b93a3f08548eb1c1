#include "monitor/control_client.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

namespace drupe {
namespace {

using Clock = std::chrono::steady_clock;

/// Waits until the socket is readable; kLimit when the deadline has passed.
Status wait_readable(int fd, std::optional<Clock::time_point> deadline,
                     const std::string& monitor) {
    for (;;) {
        int timeout_ms = -1;
        if (deadline) {
            const auto left =
                std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now());
            timeout_ms = static_cast<int>(std::max<int64_t>(left.count(), 0));
        }
        pollfd poll{fd, POLLIN, 0};
        const int n = ::poll(&poll, 1, timeout_ms);
        if (n > 0) return ok();
        if (n == 0) return Error{ErrorCode::kLimit, monitor + " didn't answer in time"};
        if (errno != EINTR) return os_error("poll the control socket");
    }
}

/// Bounds connect() and sendmsg(), which fail with EAGAIN then.
void limit_sends(int socket, std::chrono::milliseconds timeout) {
    const timeval time{timeout.count() / 1000, timeout.count() % 1000 * 1000};
    static_cast<void>(::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time));
}

Error too_busy(const std::string& monitor, std::string_view what) {
    return {ErrorCode::kLimit,
            fmt::format("{} took no {} in time: it may be stopped (SIGSTOP)", monitor, what)};
}

}  // namespace

ControlClient::ControlClient(Fd socket, std::string monitor, std::chrono::milliseconds send_timeout)
    : socket_(std::move(socket)), monitor_(std::move(monitor)) {
    limit_sends(socket_.get(), send_timeout);
}

Error ControlClient::hung_up() const {
    return {ErrorCode::kNotFound, monitor_ + " hung up"};
}

/// A monitor that is killed has hung up, whatever lay unread in its socket.
Error ControlClient::explain(const Error& error) const {
    if (error.os_errno == EAGAIN) return too_busy(monitor_, "request");
    return error.os_errno == EPIPE || error.os_errno == ECONNRESET ? hung_up() : error;
}

Result<ControlClient> ControlClient::connect(const std::string& socket_path, std::string monitor,
                                             std::chrono::milliseconds send_timeout) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (socket_path.size() >= sizeof address.sun_path)
        return Error{ErrorCode::kInvalid, "socket path too long: " + socket_path};
    std::memcpy(address.sun_path, socket_path.c_str(), socket_path.size() + 1);
    Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!socket.valid()) return os_error("socket");
    ControlClient client(std::move(socket), std::move(monitor), send_timeout);
    int connected = 0;
    do {
        connected =
            ::connect(client.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    } while (connected < 0 && errno == EINTR);
    if (connected < 0) {
        if (errno == EAGAIN) return too_busy(client.monitor_, "connection");
        Error error = os_error("connect to " + socket_path);
        if (error.os_errno == ECONNREFUSED) error.code = ErrorCode::kNotFound;
        return error;
    }
    return client;
}

Result<uint64_t> ControlClient::send(control::Request request) {
    request.id = next_id_++;
    const auto sent =
        control::send_packet(socket_.get(), control::encode(request), control::fds_of(request));
    if (!sent) return explain(sent.error());
    return request.id;
}

Result<control::Reply> ControlClient::receive(uint64_t id,
                                              std::optional<std::chrono::milliseconds> timeout) {
    std::optional<Clock::time_point> deadline;
    if (timeout) deadline = Clock::now() + *timeout;
    for (;;) {
        if (auto node = replies_.extract(id)) return std::move(node.mapped());
        TRY(wait_readable(socket_.get(), deadline, monitor_));
        const auto packet = control::receive_packet(socket_.get());
        if (!packet) return explain(packet.error());
        if (!packet.value()) return hung_up();
        TRY_ASSIGN(control::Reply reply, control::decode_reply(packet.value()->text));
        // A reply nobody asked for would only take up memory.
        if (reply.id == 0 || reply.id >= next_id_) continue;
        replies_[reply.id] = std::move(reply);
    }
}

Result<control::Reply> ControlClient::exchange(control::Request request,
                                               std::optional<std::chrono::milliseconds> timeout) {
    TRY_ASSIGN(const uint64_t id, send(std::move(request)));
    return receive(id, timeout);
}

Result<control::Reply> ControlClient::call(control::Request request,
                                           std::optional<std::chrono::milliseconds> timeout) {
    TRY_ASSIGN(control::Reply reply, exchange(std::move(request), timeout));
    if (!reply.error.empty()) return Error{ErrorCode::kInvalid, reply.error, reply.os_error};
    return reply;
}

}  // namespace drupe
