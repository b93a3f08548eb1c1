#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/event_loop.h"
#include "base/fd.h"
#include "monitor/control.h"

namespace drupe {

/// Called once with the reply to a request; may be called later, or never if the machine ends
/// first. The reply's id is filled in. Harmless after the client has gone.
class ControlAnswer {
  public:
    template <class Reply>
    ControlAnswer(Reply reply)
        : reply_(std::move(reply)) {}  // NOLINT: converts as std::function does
    ControlAnswer(std::function<void(control::Reply)> reply, std::weak_ptr<void> client)
        : reply_(std::move(reply)), client_(std::move(client)), bound_(true) {}

    void operator()(control::Reply reply) const { reply_(std::move(reply)); }
    /// False once its client has hung up: then nobody waits for it.
    [[nodiscard]] bool wanted() const { return !bound_ || !client_.expired(); }

  private:
    std::function<void(control::Reply)> reply_;
    std::weak_ptr<void> client_;
    bool bound_ = false;
};

/// Serves a monitor's control socket. Clients are hostile: their number, requests and messages are
/// bounded, and one that breaks the protocol or doesn't take its replies is hung up on. Runs on the
/// loop's thread.
class ControlServer {
  public:
    using Answer = ControlAnswer;
    using Handler = std::function<void(control::Request, Answer)>;

    /// listener: bound and not yet listening.
    [[nodiscard]] static Result<std::unique_ptr<ControlServer>> create(EventLoop& loop, Fd listener,
                                                                       Handler handler);
    ~ControlServer();

  private:
    struct Client;
    ControlServer(EventLoop& loop, Fd listener, Handler handler);
    void accept_client();
    void serve(uint64_t client_id);
    void handle(uint64_t client_id, control::Packet packet);
    void answer(uint64_t client_id, const control::Reply& reply);
    void drop(uint64_t client_id);

    EventLoop& loop_;
    Fd listener_;
    Handler handler_;
    EventLoop::Watch watch_;
    uint64_t next_client_ = 1;
    std::map<uint64_t, std::unique_ptr<Client>> clients_;
    std::shared_ptr<ControlServer*> alive_;
};

}  // namespace drupe
