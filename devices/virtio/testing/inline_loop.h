#pragma once

#include <poll.h>

#include <map>
#include <utility>
#include <vector>

#include "base/event_loop.h"

namespace drupe::virtio::testing {

/// A loop without a thread, for fuzzing: posted calls and ready descriptors run when deliver() is
/// called, timers never. What a test does with it is one sequence that can be replayed.
class InlineLoop final : public EventLoop {
  public:
    Watch on_readable(int fd, std::function<void()> callback) override {
        callbacks_[fd] = std::move(callback);
        return std::make_unique<Registration>(*this, fd);
    }
    Watch on_writable(int /*fd*/, std::function<void()> /*callback*/) override {
        return std::make_unique<Handle>();
    }
    Watch after(std::chrono::nanoseconds /*delay*/, std::function<void()> /*callback*/) override {
        return std::make_unique<Handle>();
    }
    void post(std::function<void()> callback) override { posted_.push_back(std::move(callback)); }
    void run() override {}
    void stop() override {}
    [[nodiscard]] uint64_t now_ns() const override { return 0; }

    /// One round: what was posted, then the descriptors that are readable now.
    void deliver() {
        deliver_posted();
        for (const auto& [fd, callback] : callbacks_) {
            pollfd ready{fd, POLLIN, 0};
            if (::poll(&ready, 1, 0) == 1) callback();
        }
    }
    void deliver_posted() {
        for (const auto& call : std::exchange(posted_, {})) call();
    }

  private:
    struct Registration final : public Handle {
        Registration(InlineLoop& owner, int watched) : loop(owner), fd(watched) {}
        ~Registration() override { loop.callbacks_.erase(fd); }
        InlineLoop& loop;
        int fd;
    };
    std::map<int, std::function<void()>> callbacks_;
    std::vector<std::function<void()>> posted_;
};

}  // namespace drupe::virtio::testing
