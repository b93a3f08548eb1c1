#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/mutex.h"

namespace drupe::daemon {

/// Something that happened to an object, as GET /events tells it.
struct Event {
    std::string type;    ///< "container", "image", "network", "volume", "daemon".
    std::string action;  ///< "create", "start", "die", ...
    std::string id;
    std::map<std::string, std::string> attributes;
    uint64_t at_ns = 0;  ///< CLOCK_REALTIME
};

/// What happened lately, and who listens. Any thread.
class Events {
  public:
    static constexpr size_t kKept = 1024;
    static constexpr size_t kMaxQueued = 4096;  ///< Of one subscriber; then it is cut off.

    /// What one listener hasn't read yet. Its thread polls event_fd().
    class Subscription {
      public:
        Subscription(Events& events, Fd event) : events_(events), event_(std::move(event)) {}
        Subscription(const Subscription&) = delete;
        Subscription& operator=(const Subscription&) = delete;
        ~Subscription();
        [[nodiscard]] int event_fd() const { return event_.get(); }
        [[nodiscard]] std::optional<Event> next();
        /// It read too slowly, and events were lost.
        [[nodiscard]] bool overrun() const;

      private:
        friend class Events;
        Events& events_;
        Fd event_;
        std::deque<Event> queue_;
        bool overrun_ = false;
    };

    /// at_ns is set here.
    void publish(Event event);
    /// With what is still known of the time from since_ns on (unset: nothing of the past).
    [[nodiscard]] Result<std::unique_ptr<Subscription>> subscribe(std::optional<uint64_t> since_ns);

  private:
    mutable Mutex mutex_;
    std::deque<Event> kept_ DRUPE_GUARDED_BY(mutex_);
    std::set<Subscription*> subscribers_ DRUPE_GUARDED_BY(mutex_);
};

}  // namespace drupe::daemon
