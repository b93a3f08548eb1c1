#include "guest-init/frame_socket.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace drupe::protocol {
namespace {

constexpr size_t kReadBytes = 64 << 10;

}  // namespace

FrameSocket::FrameSocket(EventLoop& loop, Fd fd, Events events)
    : loop_(loop), fd_(std::move(fd)), events_(std::move(events)) {
    if (!set_nonblocking(fd_.get(), true)) {
        close(false);
        return;
    }
    read_watch_ = loop_.on_readable(fd_.get(), [this] { on_readable(); });
}

void FrameSocket::send(std::string_view bytes) {
    if (!fd_.valid() || peer_is_deaf_) return;
    out_.append(bytes);
    if (!write_watch_) flush();
}

void FrameSocket::pause() {
    paused_ = true;
    read_watch_.reset();
}

void FrameSocket::resume() {
    if (!paused_ || !fd_.valid()) return;
    paused_ = false;
    read_watch_ = loop_.on_readable(fd_.get(), [this] { on_readable(); });
    consume_all();
}

void FrameSocket::on_readable() {
    char buffer[kReadBytes];  // not cleared: of its pages only those that are filled get touched
    const ssize_t n = ::recv(fd_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return close(false);
    if (n < 0) return;
    in_.append(buffer, static_cast<size_t>(n));
    consume_all();
}

void FrameSocket::consume_all() {
    const std::weak_ptr<char> alive = alive_;
    size_t at = 0;
    while (!paused_ && fd_.valid() && at < in_.size()) {
        const auto used = events_.consume(std::string_view(in_).substr(at));
        if (alive.expired()) return;
        if (!used) return close(true);
        if (*used == 0) break;
        at += *used;
    }
    in_.erase(0, at);
    if (in_.empty() && in_.capacity() > 2 * kReadBytes) in_.shrink_to_fit();
}

void FrameSocket::flush() {
    while (out_at_ < out_.size()) {
        const ssize_t n = ::send(fd_.get(), out_.data() + out_at_, out_.size() - out_at_,
                                 MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
            if (!write_watch_) write_watch_ = loop_.on_writable(fd_.get(), [this] { flush(); });
            return;
        }
        if (n < 0) {
            // What the peer said before it went is still to be read, up to its end.
            peer_is_deaf_ = true;
            write_watch_.reset();
            break;
        }
        out_at_ += static_cast<size_t>(n);
    }
    out_.clear();
    out_at_ = 0;
    if (out_.capacity() > 2 * kReadBytes) out_.shrink_to_fit();
    if (!write_watch_) return;
    write_watch_.reset();
    if (events_.on_drained) events_.on_drained();
}

void FrameSocket::close(bool broke_rule) {
    if (!fd_.valid()) return;
    read_watch_.reset();
    write_watch_.reset();
    fd_.reset();
    in_.clear();
    out_.clear();
    out_at_ = 0;
    // From the loop, since send() and the constructor get here too.
    closing_ = loop_.after(std::chrono::nanoseconds(0),
                           [this, broke_rule] { events_.on_closed(broke_rule); });
}

}  // namespace drupe::protocol
