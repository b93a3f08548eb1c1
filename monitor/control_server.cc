#include "monitor/control_server.h"

#include <sys/socket.h>

#include <cerrno>

#include "base/log.h"

namespace drupe {

struct ControlServer::Client {
    Fd socket;
    EventLoop::Watch watch;
    size_t pending = 0;                                      // requests without a reply
    std::shared_ptr<void> alive = std::make_shared<char>();  // what answers know it by
};

Result<std::unique_ptr<ControlServer>> ControlServer::create(EventLoop& loop, Fd listener,
                                                             Handler handler) {
    if (::listen(listener.get(), 16) < 0) return os_error("listen on the control socket");
    TRY(set_nonblocking(listener.get(), true));
    return std::unique_ptr<ControlServer>(
        new ControlServer(loop, std::move(listener), std::move(handler)));
}

ControlServer::ControlServer(EventLoop& loop, Fd listener, Handler handler)
    : loop_(loop),
      listener_(std::move(listener)),
      handler_(std::move(handler)),
      alive_(std::make_shared<ControlServer*>(this)) {
    watch_ = loop_.on_readable(listener_.get(), [this] { accept_client(); });
}

ControlServer::~ControlServer() {
    *alive_ = nullptr;
}

void ControlServer::accept_client() {
    Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket.valid()) return;
    if (clients_.size() >= control::kMaxClients) return;  // closes it: the client sees the end
    const uint64_t id = next_client_++;
    auto client = std::make_unique<Client>();
    client->socket = std::move(socket);
    client->watch = loop_.on_readable(client->socket.get(), [this, id] { serve(id); });
    clients_[id] = std::move(client);
}

void ControlServer::serve(uint64_t client_id) {
    const auto it = clients_.find(client_id);
    if (it == clients_.end()) return;
    auto packet = control::receive_packet(it->second->socket.get());
    if (!packet && (packet.error().os_errno == EAGAIN || packet.error().os_errno == EINTR)) return;
    if (!packet || !packet.value()) return drop(client_id);
    if (it->second->pending >= control::kMaxPendingRequests) return drop(client_id);
    handle(client_id, std::move(*packet.value()));
}

void ControlServer::handle(uint64_t client_id, control::Packet packet) {
    auto request = control::decode_request(packet.text, std::move(packet.fds));
    if (!request) {
        // Its id may not be known, so a reply could reach the wrong request: say why in the log and
        // hang up.
        log(LogLevel::kWarn, "control client {}: {}", client_id, request.error().message);
        return drop(client_id);
    }
    Client& client = *clients_[client_id];
    ++client.pending;
    const uint64_t request_id = request.value().id;
    const auto reply_to = [alive = alive_, client_id, request_id](control::Reply reply) {
        if (*alive == nullptr) return;
        reply.id = request_id;
        (*alive)->answer(client_id, reply);
    };
    handler_(std::move(request).value(), Answer(reply_to, client.alive));
}

void ControlServer::answer(uint64_t client_id, const control::Reply& reply) {
    const auto it = clients_.find(client_id);
    if (it == clients_.end()) return;
    --it->second->pending;
    // A client that lets its socket fill up (EAGAIN) has stopped listening.
    if (!control::send_packet(it->second->socket.get(), control::encode(reply), {}))
        drop(client_id);
}

void ControlServer::drop(uint64_t client_id) {
    clients_.erase(client_id);
}

}  // namespace drupe
