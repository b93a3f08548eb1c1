#pragma once

#include <functional>
#include <list>
#include <string>

#include "base/event_loop.h"
#include "base/fd.h"
#include "guest-init/protocol.h"

namespace drupe::init {

/// Accepts the host's stream connections and reads what each one opens. Connections of anybody but
/// the host are dropped; so is the oldest one when too many say nothing.
class StreamListener {
  public:
    using OnOpen = std::function<void(const protocol::StreamOpen&, Fd)>;
    /// listener: a listening socket.
    StreamListener(EventLoop& loop, Fd listener, OnOpen on_open);

  private:
    struct Pending {
        Fd fd;
        std::string bytes;
        EventLoop::Watch watch;
    };
    static constexpr size_t kMaxPending = 64;

    void accept_one();
    void read(std::list<Pending>::iterator pending);

    EventLoop& loop_;
    Fd listener_;
    OnOpen on_open_;
    std::list<Pending> pending_;
    EventLoop::Watch watch_;
};

}  // namespace drupe::init
