#include "devices/virtio_vsock/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace drupe::vsock {
namespace {

// Of one guest buffer; what a longer chain holds beyond that goes through the copy.
constexpr size_t kMaxParts = 256;

/// -1 and errno as sendmsg; never blocks, never raises SIGPIPE.
ssize_t send_some(int fd, std::span<iovec> parts) {
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = std::min(parts.size(), kMaxParts);
    ssize_t n = 0;
    do {
        n = ::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n;
}

/// The other end is closed, and not only its writing half.
bool hung_up(int fd) {
    pollfd state{fd, 0, 0};
    return ::poll(&state, 1, 0) > 0 && (state.revents & (POLLHUP | POLLERR)) != 0;
}

}  // namespace

void Connection::write_to_host(std::span<iovec> parts, size_t bytes) {
    if (host_deaf_) return guest_bytes_gone(bytes);
    size_t written = 0;
    if (!has_unwritten()) {
        const ssize_t n = send_some(socket_.get(), parts);
        if (n < 0 && errno != EAGAIN) {
            socket_refuses();
            return guest_bytes_gone(bytes);
        }
        written = n > 0 ? static_cast<size_t>(n) : 0;
        guest_bytes_gone(written);
    }
    if (written == bytes) return;
    // Bounded by the credit that this connection gave the guest; moved to the front seldom enough
    // that one-byte packets don't make it quadratic.
    if (unwritten_begin_ > unwritten_.size() / 2) {
        unwritten_.erase(unwritten_.begin(),
                         unwritten_.begin() + static_cast<ptrdiff_t>(unwritten_begin_));
        unwritten_begin_ = 0;
    }
    size_t skip = written;
    for (const iovec& part : parts) {
        const size_t done = std::min(skip, part.iov_len);
        skip -= done;
        const auto* from = static_cast<const std::byte*>(part.iov_base);
        unwritten_.insert(unwritten_.end(), from + done, from + part.iov_len);
    }
}

void Connection::flush() {
    while (has_unwritten()) {
        iovec part{unwritten_.data() + unwritten_begin_, unwritten_.size() - unwritten_begin_};
        const ssize_t n = send_some(socket_.get(), std::span(&part, 1));
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) return socket_refuses();
        unwritten_begin_ += static_cast<size_t>(n);
        guest_bytes_gone(static_cast<size_t>(n));
    }
    after_write();
}

void Connection::after_write() {
    if (has_unwritten()) return;
    unwritten_ = std::vector<std::byte>();  // {} would keep its room
    unwritten_begin_ = 0;
    if (!guest_ended_ || told_end_) return;
    told_end_ = true;
    if (socket_.valid()) ::shutdown(socket_.get(), SHUT_WR);
    if (host_ended_ && !host_deaf_) {  // both directions are finished: say so
        host_deaf_ = true;
        say(kSendShutdown);
    }
}

void Connection::say(Pending what) {
    if (state == State::kOpen) pending |= what;
}

void Connection::guest_bytes_gone(size_t bytes) {
    credit.forwarded(static_cast<uint32_t>(bytes));
    if (!guest_ended_ && credit.update_due()) say(kSendCreditUpdate);
}

void Connection::socket_refuses() {
    guest_bytes_gone(unwritten_.size() - unwritten_begin_);
    unwritten_begin_ = unwritten_.size();
    if (!host_deaf_) say(kSendShutdown);
    host_deaf_ = true;
    after_write();
}

size_t Connection::read_from_host(std::span<iovec> parts) {
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = std::min(parts.size(), kMaxParts);
    size_t room = 0;
    for (size_t i = 0; i < message.msg_iovlen; ++i) room += parts[i].iov_len;
    ssize_t n = 0;
    do {
        n = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
        readable = false;
        return 0;
    }
    if (n <= 0) {  // the end; an error is one that is read once, and then it is the end too
        readable = false;
        host_ended_ = true;
        say(kSendShutdown);
        if (n < 0 || told_end_ || hung_up(socket_.get())) socket_refuses();
        return 0;
    }
    // A short read has emptied the socket: epoll tells when there is more.
    if (static_cast<size_t>(n) < room) readable = false;
    return static_cast<size_t>(n);
}

void Connection::shut_by_guest(uint32_t flags) {
    if ((flags & kShutdownReceive) != 0 && !guest_deaf_) {
        guest_deaf_ = true;
        host_ended_ = true;
        readable = false;
        if (socket_.valid()) ::shutdown(socket_.get(), SHUT_RD);
    }
    if ((flags & kShutdownSend) != 0) guest_ended_ = true;
    after_write();
}

void Connection::lost_by_guest() {
    state = State::kDraining;
    pending = 0;
    shut_by_guest(kShutdownBoth);
}

void Connection::drop_socket() {
    read_watch.reset();
    write_watch.reset();
    socket_.reset();
}

}  // namespace drupe::vsock
