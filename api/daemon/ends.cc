#include "api/daemon/ends.h"

namespace drupe::daemon {

Ends::Waiter::~Waiter() {
    const MutexLock lock(ends_.mutex_);
    auto [from, to] = ends_.waiters_.equal_range(id_);
    for (auto at = from; at != to; ++at) {
        if (at->second != this) continue;
        ends_.waiters_.erase(at);
        return;
    }
}

std::optional<End> Ends::Waiter::end() const {
    const MutexLock lock(ends_.mutex_);
    return end_;
}

bool Ends::Waiter::removed() const {
    const MutexLock lock(ends_.mutex_);
    return removed_;
}

Result<std::unique_ptr<Ends::Waiter>> Ends::watch(const std::string& id) {
    TRY_ASSIGN(Fd event, make_eventfd());
    auto waiter = std::make_unique<Waiter>(*this, id, std::move(event));
    const MutexLock lock(mutex_);
    waiters_.emplace(id, waiter.get());
    return waiter;
}

void Ends::ended(const std::string& id, const End& end) {
    const MutexLock lock(mutex_);
    last_.emplace_front(id, end);
    if (last_.size() > kKept) last_.pop_back();
    auto [from, to] = waiters_.equal_range(id);
    for (auto at = from; at != to; ++at) {
        at->second->end_ = end;
        signal_eventfd(at->second->event_.get());
    }
}

std::optional<End> Ends::last(const std::string& id) const {
    const MutexLock lock(mutex_);
    for (const auto& [ended, end] : last_) {
        if (ended == id) return end;
    }
    return std::nullopt;
}

void Ends::removed(const std::string& id) {
    const MutexLock lock(mutex_);
    auto [from, to] = waiters_.equal_range(id);
    for (auto at = from; at != to; ++at) {
        at->second->removed_ = true;
        signal_eventfd(at->second->event_.get());
    }
}

}  // namespace drupe::daemon
