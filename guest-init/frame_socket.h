#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/event_loop.h"
#include "base/fd.h"

namespace drupe::protocol {

/// A non-blocking stream socket on an event loop that carries frames both ways: the common part of
/// every connection, in the guest and in the monitor. Reads are bounded by what the consumer takes;
/// what is sent is queued without a limit of its own: its user looks at unsent_bytes().
/// May be destroyed in any of its callbacks.
class FrameSocket {
  public:
    struct Events {
        /// All bytes received and not consumed. Returns how many of them are consumed (0: wait for
        /// more), or nothing: the peer broke a rule, hang up (on_closed(true) follows).
        std::function<std::optional<size_t>(std::string_view)> consume;
        /// All that was queued has been handed to the kernel, after some of it had to wait.
        std::function<void()> on_drained;
        /// The connection is gone; the descriptor is closed already. Called once, never from within
        /// send().
        std::function<void(bool broke_rule)> on_closed;
    };

    /// Makes fd non-blocking. Starts to read at once.
    FrameSocket(EventLoop& loop, Fd fd, Events events);

    /// Writes what the kernel takes now and queues the rest.
    void send(std::string_view bytes);
    [[nodiscard]] size_t unsent_bytes() const { return out_.size() - out_at_; }
    /// Stops and goes on with reading and consuming. resume() may call consume.
    void pause();
    void resume();

  private:
    void on_readable();
    void consume_all();
    void flush();
    void close(bool broke_rule);

    EventLoop& loop_;
    Fd fd_;
    Events events_;
    std::string in_;
    std::string out_;
    size_t out_at_ = 0;
    bool paused_ = false;
    bool peer_is_deaf_ = false;  ///< It doesn't read any more; what is to be sent is dropped.
    std::shared_ptr<char> alive_ = std::make_shared<char>();
    EventLoop::Watch read_watch_;
    EventLoop::Watch write_watch_;
    EventLoop::Watch closing_;
};

}  // namespace drupe::protocol
