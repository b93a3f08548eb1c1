#include "imagefs/registry/testing/fake_server.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>

namespace drupe::imagefs::registry::testing {
namespace {

constexpr int kPollMs = 20;

bool send_all(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t n = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
        if (n <= 0) return false;
        text.remove_prefix(static_cast<size_t>(n));
    }
    return true;
}

/// Reads more; false at the end of the connection or the server.
bool receive(int fd, std::string& into, const std::atomic<bool>& stop) {
    while (!stop) {
        pollfd poll{fd, POLLIN, 0};
        if (::poll(&poll, 1, kPollMs) <= 0) continue;
        char buffer[65536];
        const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
        if (n <= 0) return false;
        into.append(buffer, static_cast<size_t>(n));
        return true;
    }
    return false;
}

std::optional<SeenRequest> parse_head(std::string_view head) {
    SeenRequest request;
    const size_t first = head.find(' ');
    const size_t second = head.find(' ', first + 1);
    if (second == std::string_view::npos) return std::nullopt;
    request.method = head.substr(0, first);
    request.target = head.substr(first + 1, second - first - 1);
    size_t at = head.find("\r\n");
    while (at != std::string_view::npos && at + 2 < head.size()) {
        const size_t end = head.find("\r\n", at + 2);
        const std::string_view line = head.substr(at + 2, end - at - 2);
        const size_t colon = line.find(": ");
        if (colon == std::string_view::npos) break;
        request.headers.add(std::string(line.substr(0, colon)),
                            std::string(line.substr(colon + 2)));
        at = end;
    }
    return request;
}

/// False: the connection is of no more use.
bool send_reply(int fd, const Reply& reply, bool head_only, const std::atomic<bool>& stop) {
    if (reply.raw) {
        send_all(fd, *reply.raw);
        return false;
    }
    std::string head = fmt::format("HTTP/1.1 {} Said\r\n", reply.status);
    for (const auto& [name, value] : reply.headers.fields()) head += name + ": " + value + "\r\n";
    if (reply.endless) {
        head += "Transfer-Encoding: chunked\r\n\r\n";
        if (!send_all(fd, head)) return false;
        const std::string chunk = fmt::format("{:x}\r\n{}\r\n", reply.body.size(), reply.body);
        while (!stop && send_all(fd, chunk)) {
        }
        return false;
    }
    head += "Content-Length: " + reply.claimed_length.value_or(std::to_string(reply.body.size())) +
            "\r\n\r\n";
    if (!send_all(fd, head)) return false;
    if (head_only) return true;
    const size_t size = std::min(reply.cut_after.value_or(reply.body.size()), reply.body.size());
    for (size_t i = 0; reply.drip_ms > 0 && i < size && !stop; ++i) {
        if (!send_all(fd, reply.body.substr(i, 1))) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(reply.drip_ms));
    }
    if (reply.drip_ms == 0 && !send_all(fd, std::string_view(reply.body).substr(0, size))) {
        return false;
    }
    return !reply.cut_after && !reply.claimed_length;
}

}  // namespace

FakeServer::FakeServer(Handler handler)
    : handler_(std::move(handler)), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_.get(), generic, size) < 0 || ::listen(listener_.get(), 64) < 0 ||
        ::getsockname(listener_.get(), generic, &size) < 0) {
        std::abort();
    }
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
}

FakeServer::~FakeServer() {
    stop_ = true;
    acceptor_.join();
    for (std::thread& thread : threads_) thread.join();
}

std::string FakeServer::host() const {
    return fmt::format("127.0.0.1:{}", port_);
}
std::string FakeServer::alias() const {
    return fmt::format("localhost:{}", port_);
}

std::vector<SeenRequest> FakeServer::seen() {
    const std::lock_guard lock(mutex_);
    return seen_;
}

void FakeServer::accept_all() {
    while (!stop_) {
        pollfd poll{listener_.get(), POLLIN, 0};
        if (::poll(&poll, 1, kPollMs) <= 0) continue;
        Fd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!connection.valid()) continue;
        ++connections_;
        threads_.emplace_back([this, fd = connection.release()]() mutable { serve(Fd(fd)); });
    }
}

void FakeServer::serve(Fd connection) {
    std::string buffer;
    while (!stop_) {
        size_t end = 0;
        while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
            if (!receive(connection.get(), buffer, stop_)) return;
            if (buffer[0] == '\x16') return;  // a TLS handshake, which this server doesn't speak
        }
        auto request = parse_head(std::string_view(buffer).substr(0, end + 2));
        if (!request) return;
        buffer.erase(0, end + 4);
        const size_t length = parse_number(request->headers.get("Content-Length")).value_or(0);
        while (buffer.size() < length) {
            if (!receive(connection.get(), buffer, stop_)) return;
        }
        request->body = buffer.substr(0, length);
        buffer.erase(0, length);
        Reply reply;
        {
            const std::lock_guard lock(mutex_);
            seen_.push_back(*request);
            reply = handler_(*request);
        }
        if (!send_reply(connection.get(), reply, request->method == "HEAD", stop_)) return;
    }
}

}  // namespace drupe::imagefs::registry::testing
