#include "guest-init/stream_listener.h"

// clang-format off: vm_sockets.h needs sockaddr
#include <linux/vm_sockets.h>
#include <sys/socket.h>
// clang-format on

#include <cerrno>
#include <utility>

namespace drupe::init {
namespace {

bool is_host(const sockaddr_storage& peer) {
    if (peer.ss_family != AF_VSOCK) return true;  // a test's transport
    return reinterpret_cast<const sockaddr_vm&>(peer).svm_cid == protocol::kHostCid;
}

}  // namespace

StreamListener::StreamListener(EventLoop& loop, Fd listener, OnOpen on_open)
    : loop_(loop), listener_(std::move(listener)), on_open_(std::move(on_open)) {
    watch_ = loop_.on_readable(listener_.get(), [this] { accept_one(); });
}

void StreamListener::accept_one() {
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    Fd fd(::accept4(listener_.get(), reinterpret_cast<sockaddr*>(&peer), &size,
                    SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.valid() || !is_host(peer)) return;
    if (pending_.size() == kMaxPending) pending_.pop_front();
    const auto it = pending_.emplace(pending_.end());
    it->fd = std::move(fd);
    it->watch = loop_.on_readable(it->fd.get(), [this, it] { read(it); });
}

void StreamListener::read(std::list<Pending>::iterator pending) {
    char buffer[protocol::kStreamOpenBytes];
    const ssize_t n =
        ::recv(pending->fd.get(), buffer, sizeof buffer - pending->bytes.size(), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n > 0) pending->bytes.append(buffer, static_cast<size_t>(n));
    if (n > 0 && pending->bytes.size() < protocol::kStreamOpenBytes) return;
    const auto open = protocol::decode<protocol::StreamOpen>(pending->bytes);
    pending->watch.reset();
    Fd fd = std::move(pending->fd);
    pending_.erase(pending);
    if (open) on_open_(*open, std::move(fd));
}

}  // namespace drupe::init
