#pragma once

#include <poll.h>

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/event_loop.h"

namespace drupe::vsock::testing {

/// An EventLoop that a test drives by hand, with virtual time. It counts callbacks, so that a test
/// can tell a loop that sleeps from one that spins.
class ManualLoop final : public EventLoop {
  public:
    Watch on_readable(int fd, std::function<void()> callback) override {
        return add(readers_, fd, std::move(callback));
    }
    Watch on_writable(int fd, std::function<void()> callback) override {
        return add(writers_, fd, std::move(callback));
    }
    Watch after(std::chrono::nanoseconds delay, std::function<void()> callback) override {
        return add(timers_, {now_ns_ + static_cast<uint64_t>(delay.count()), ++sequence_},
                   std::move(callback));
    }
    void post(std::function<void()> callback) override { posted_.push_back(std::move(callback)); }
    void run() override { DRUPE_CHECK(false); }
    void stop() override {}
    uint64_t now_ns() const override { return now_ns_; }

    /// Calls everything that is ready now, as epoll would; returns how many callbacks ran.
    size_t step() {
        size_t calls = 0;
        for (const auto& callback : std::exchange(posted_, {})) {
            callback();
            ++calls;
        }
        std::map<int, short> wanted;
        for (const auto& [fd, callback] : readers_) wanted[fd] |= POLLIN;
        for (const auto& [fd, callback] : writers_) wanted[fd] |= POLLOUT;
        std::vector<pollfd> fds;
        fds.reserve(wanted.size());
        for (const auto& [fd, events] : wanted) fds.push_back({fd, events, 0});
        if (::poll(fds.data(), fds.size(), 0) <= 0) return calls;
        for (const pollfd& ready : fds) {
            DRUPE_CHECK((ready.revents & POLLNVAL) == 0);  // closed while it was watched
            const int end = ready.revents & (POLLHUP | POLLERR);
            if (((ready.revents & POLLIN) | end) != 0) calls += call(readers_, ready.fd);
            if (((ready.revents & POLLOUT) | end) != 0) calls += call(writers_, ready.fd);
        }
        return calls;
    }
    /// Lets time pass and runs the timers that are due.
    size_t advance(std::chrono::nanoseconds time) {
        now_ns_ += static_cast<uint64_t>(time.count());
        size_t calls = 0;
        while (!timers_.empty() && timers_.begin()->first.first <= now_ns_) {
            const auto callback = timers_.begin()->second;
            timers_.erase(timers_.begin());
            (*callback)();
            ++calls;
        }
        return calls;
    }
    [[nodiscard]] size_t timers() const { return timers_.size(); }
    [[nodiscard]] size_t watches() const { return readers_.size() + writers_.size(); }

  private:
    using Callback = std::shared_ptr<std::function<void()>>;
    template <class Key>
    class Entry final : public Handle {
      public:
        Entry(std::map<Key, Callback>& map, Key key, Callback callback)
            : map_(map), key_(key), callback_(std::move(callback)) {}
        ~Entry() override {
            const auto it = map_.find(key_);
            if (it != map_.end() && it->second == callback_) map_.erase(it);
        }

      private:
        std::map<Key, Callback>& map_;
        Key key_;
        Callback callback_;
    };

    template <class Key>
    static Watch add(std::map<Key, Callback>& map, Key key, std::function<void()> callback) {
        auto shared = std::make_shared<std::function<void()>>(std::move(callback));
        DRUPE_CHECK(map.emplace(key, shared).second);
        return std::make_unique<Entry<Key>>(map, key, std::move(shared));
    }
    static size_t call(const std::map<int, Callback>& map, int fd) {
        const auto it = map.find(fd);
        if (it == map.end()) return 0;
        const Callback callback = it->second;
        (*callback)();
        return 1;
    }

    std::map<int, Callback> readers_;
    std::map<int, Callback> writers_;
    std::map<std::pair<uint64_t, uint64_t>, Callback> timers_;
    std::vector<std::function<void()>> posted_;
    uint64_t now_ns_ = 0;
    uint64_t sequence_ = 0;
};

}  // namespace drupe::vsock::testing
