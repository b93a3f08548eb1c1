#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

namespace drupe {

/// One thread's loop: runs callbacks when descriptors become ready, when time has passed, or when
/// another thread posts. Everything but post() and stop() is called on the loop's own thread (or
/// before run()).
class EventLoop {
  public:
    /// A registration. Destroying it ends the registration; its callback then never runs again.
    class Handle {
      public:
        virtual ~Handle() = default;
    };
    using Watch = std::unique_ptr<Handle>;

    virtual ~EventLoop() = default;

    /// Runs callback each time fd is readable (at its end too) until the Watch is destroyed.
    /// Level-triggered: a callback that leaves bytes unread is called again. One Watch a descriptor
    /// and direction. fd stays the caller's and must outlive the Watch. Regular files are always
    /// ready and are refused by the kernel: don't watch them.
    [[nodiscard]] virtual Watch on_readable(int fd, std::function<void()> callback) = 0;
    [[nodiscard]] virtual Watch on_writable(int fd, std::function<void()> callback) = 0;

    /// Runs callback once, after the delay; destroying the Watch before that cancels it.
    [[nodiscard]] virtual Watch after(std::chrono::nanoseconds delay,
                                      std::function<void()> callback) = 0;

    /// Runs callback on the loop's thread soon. Callable from any thread.
    virtual void post(std::function<void()> callback) = 0;

    /// Runs until stop(). stop() may be called from any thread, also before run().
    virtual void run() = 0;
    virtual void stop() = 0;

    /// The loop's clock: monotonic nanoseconds.
    [[nodiscard]] virtual uint64_t now_ns() const = 0;
};

/// The real loop, on epoll. All of its descriptors exist when this returns (before seccomp). Why
/// not Asio: docs/adr/0001-event-loop.md.
std::unique_ptr<EventLoop> make_event_loop();

}  // namespace drupe
