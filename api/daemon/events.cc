#include "api/daemon/events.h"

#include "api/engine/clock.h"

namespace drupe::daemon {

Events::Subscription::~Subscription() {
    const MutexLock lock(events_.mutex_);
    events_.subscribers_.erase(this);
}

std::optional<Event> Events::Subscription::next() {
    const MutexLock lock(events_.mutex_);
    if (queue_.empty()) return std::nullopt;
    Event event = std::move(queue_.front());
    queue_.pop_front();
    return event;
}

bool Events::Subscription::overrun() const {
    const MutexLock lock(events_.mutex_);
    return overrun_;
}

void Events::publish(Event event) {
    event.at_ns = engine::realtime_ns();
    const MutexLock lock(mutex_);
    for (Subscription* subscriber : subscribers_) {
        if (subscriber->queue_.size() >= kMaxQueued) {
            subscriber->overrun_ = true;
        } else {
            subscriber->queue_.push_back(event);
        }
        signal_eventfd(subscriber->event_.get());
    }
    kept_.push_back(std::move(event));
    if (kept_.size() > kKept) kept_.pop_front();
}

Result<std::unique_ptr<Events::Subscription>> Events::subscribe(std::optional<uint64_t> since_ns) {
    TRY_ASSIGN(Fd event, make_eventfd());
    auto subscription = std::make_unique<Subscription>(*this, std::move(event));
    const MutexLock lock(mutex_);
    if (since_ns) {
        for (const Event& kept : kept_) {
            if (kept.at_ns >= *since_ns) subscription->queue_.push_back(kept);
        }
    }
    subscribers_.insert(subscription.get());
    return subscription;
}

}  // namespace drupe::daemon
