#include "base/event_loop.h"

#include <sys/epoll.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/fd.h"

namespace drupe {
namespace {

using Callback = std::function<void()>;
using SharedCallback = std::shared_ptr<Callback>;

/// Both directions of one descriptor; epoll knows a descriptor once.
struct Entry {
    SharedCallback read;
    SharedCallback write;
    [[nodiscard]] uint32_t events() const {
        return (read ? EPOLLIN : 0U) | (write ? EPOLLOUT : 0U);
    }
};

class EpollLoop final : public EventLoop {
  public:
    EpollLoop()
        : epoll_(::epoll_create1(EPOLL_CLOEXEC)), wakeup_(std::move(make_eventfd()).value()) {
        DRUPE_CHECK(epoll_.valid());
        wakeup_watch_ = on_readable(wakeup_.get(), [this] {
            drain_eventfd(wakeup_.get());
            run_posted();
        });
    }
    ~EpollLoop() override { wakeup_watch_.reset(); }

    Watch on_readable(int fd, Callback callback) override {
        return watch(fd, &Entry::read, std::move(callback));
    }
    Watch on_writable(int fd, Callback callback) override {
        return watch(fd, &Entry::write, std::move(callback));
    }
    Watch after(std::chrono::nanoseconds delay, Callback callback) override;

    void post(Callback callback) override {
        {
            const std::lock_guard lock(posted_mutex_);
            posted_.push_back(std::move(callback));
        }
        signal_eventfd(wakeup_.get());
    }
    void stop() override {
        stopped_.store(true);
        signal_eventfd(wakeup_.get());
    }
    void run() override {
        while (!stopped_.load()) step();
    }
    uint64_t now_ns() const override {
        return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                         std::chrono::steady_clock::now().time_since_epoch())
                                         .count());
    }

  private:
    class FdHandle;
    class TimerHandle;
    using TimerKey = std::pair<uint64_t, uint64_t>;  // deadline, sequence

    Watch watch(int fd, SharedCallback Entry::*direction, Callback callback);
    void unwatch(int fd, SharedCallback Entry::*direction);
    void update(int fd, uint32_t before, uint32_t now) const;
    void step();
    void dispatch(int fd, uint32_t events);
    void run_timers();
    void run_posted();
    [[nodiscard]] int timeout_ms() const;

    Fd epoll_;
    Fd wakeup_;
    Watch wakeup_watch_;
    std::unordered_map<int, Entry> entries_;
    std::map<TimerKey, Callback> timers_;
    uint64_t timer_sequence_ = 0;
    std::atomic<bool> stopped_ = false;
    std::mutex posted_mutex_;
    std::vector<Callback> posted_;
};

class EpollLoop::FdHandle final : public Handle {
  public:
    FdHandle(EpollLoop& loop, int fd, SharedCallback Entry::*direction)
        : loop_(loop), fd_(fd), direction_(direction) {}
    ~FdHandle() override { loop_.unwatch(fd_, direction_); }

  private:
    EpollLoop& loop_;
    int fd_;
    SharedCallback Entry::*direction_;
};

class EpollLoop::TimerHandle final : public Handle {
  public:
    TimerHandle(EpollLoop& loop, TimerKey key) : loop_(loop), key_(key) {}
    ~TimerHandle() override { loop_.timers_.erase(key_); }

  private:
    EpollLoop& loop_;
    TimerKey key_;
};

EventLoop::Watch EpollLoop::watch(int fd, SharedCallback Entry::*direction, Callback callback) {
    Entry& entry = entries_[fd];
    DRUPE_CHECK(!(entry.*direction));
    const uint32_t before = entry.events();
    entry.*direction = std::make_shared<Callback>(std::move(callback));
    update(fd, before, entry.events());
    return std::make_unique<FdHandle>(*this, fd, direction);
}

void EpollLoop::unwatch(int fd, SharedCallback Entry::*direction) {
    const auto it = entries_.find(fd);
    if (it == entries_.end()) return;
    const uint32_t before = it->second.events();
    (it->second.*direction).reset();
    const uint32_t now = it->second.events();
    update(fd, before, now);
    if (now == 0) entries_.erase(it);
}

void EpollLoop::update(int fd, uint32_t before, uint32_t now) const {
    epoll_event event{};
    event.events = now;
    event.data.fd = fd;
    const int operation = before == 0 ? EPOLL_CTL_ADD : now == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    const int result = ::epoll_ctl(epoll_.get(), operation, fd, &event);
    DRUPE_CHECK(result == 0 || operation == EPOLL_CTL_DEL);
}

EventLoop::Watch EpollLoop::after(std::chrono::nanoseconds delay, Callback callback) {
    const TimerKey key{now_ns() + static_cast<uint64_t>(std::max<int64_t>(delay.count(), 0)),
                       ++timer_sequence_};
    timers_.emplace(key, std::move(callback));
    return std::make_unique<TimerHandle>(*this, key);
}

int EpollLoop::timeout_ms() const {
    if (timers_.empty()) return -1;
    const uint64_t deadline = timers_.begin()->first.first;
    const uint64_t now = now_ns();
    if (deadline <= now) return 0;
    return static_cast<int>(std::min<uint64_t>((deadline - now) / 1'000'000 + 1, INT_MAX));
}

void EpollLoop::step() {
    std::array<epoll_event, 32> events;
    const int n =
        ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms());
    DRUPE_CHECK(n >= 0 || errno == EINTR);
    for (int i = 0; i < n && !stopped_.load(); ++i)
        dispatch(events[static_cast<size_t>(i)].data.fd, events[static_cast<size_t>(i)].events);
    if (!stopped_.load()) run_timers();
}

void EpollLoop::dispatch(int fd, uint32_t events) {
    // An end or an error wakes whoever waits: their read() or write() tells them which it is.
    constexpr uint32_t kEnd = EPOLLHUP | EPOLLERR | EPOLLRDHUP;
    const auto call = [&](SharedCallback Entry::*direction, uint32_t wanted) {
        const auto it = entries_.find(fd);  // a callback may have removed it
        if (it == entries_.end() || (events & wanted) == 0) return;
        if (const SharedCallback callback = it->second.*direction) (*callback)();
    };
    call(&Entry::read, EPOLLIN | kEnd);
    call(&Entry::write, EPOLLOUT | kEnd);
}

void EpollLoop::run_timers() {
    const uint64_t now = now_ns();
    while (!timers_.empty() && timers_.begin()->first.first <= now) {
        auto node = timers_.extract(timers_.begin());
        node.mapped()();
    }
}

void EpollLoop::run_posted() {
    std::vector<Callback> batch;
    {
        const std::lock_guard lock(posted_mutex_);
        batch.swap(posted_);
    }
    for (const Callback& callback : batch) callback();
}

}  // namespace

std::unique_ptr<EventLoop> make_event_loop() {
    return std::make_unique<EpollLoop>();
}

}  // namespace drupe
