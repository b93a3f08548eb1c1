#include "api/daemon/pending_streams.h"

namespace drupe::daemon {

PendingStreams::Ticket::~Ticket() {
    const MutexLock lock(streams_.mutex_);
    streams_.entries_.erase(number_);
}

std::unique_ptr<PendingStreams::Ticket> PendingStreams::add(const std::string& container,
                                                            control::Stdio stdio) {
    const MutexLock lock(mutex_);
    const uint64_t number = next_++;
    entries_.emplace(number, Entry{container, std::move(stdio)});
    return std::make_unique<Ticket>(*this, number);
}

std::vector<control::Stdio> PendingStreams::take(const std::string& container) {
    const MutexLock lock(mutex_);
    std::vector<control::Stdio> taken;
    for (auto at = entries_.begin(); at != entries_.end();) {
        if (at->second.container != container) {
            ++at;
            continue;
        }
        taken.push_back(std::move(at->second.stdio));
        at = entries_.erase(at);
    }
    return taken;
}

}  // namespace drupe::daemon
