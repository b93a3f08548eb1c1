#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "monitor/control.h"

namespace drupe::daemon {

/// Clients that attached to a container before it was started: the monitor's ends of their
/// streams, until a start takes them. Any thread.
class PendingStreams {
  public:
    /// Closes what it stands for when it ends, unless a start has it.
    class Ticket {
      public:
        Ticket(PendingStreams& streams, uint64_t number) : streams_(streams), number_(number) {}
        Ticket(const Ticket&) = delete;
        Ticket& operator=(const Ticket&) = delete;
        ~Ticket();

      private:
        PendingStreams& streams_;
        uint64_t number_;
    };

    [[nodiscard]] std::unique_ptr<Ticket> add(const std::string& container, control::Stdio stdio);
    /// In the order of their coming.
    [[nodiscard]] std::vector<control::Stdio> take(const std::string& container);

  private:
    struct Entry {
        std::string container;
        control::Stdio stdio;
    };
    Mutex mutex_;
    uint64_t next_ DRUPE_GUARDED_BY(mutex_) = 1;
    std::map<uint64_t, Entry> entries_ DRUPE_GUARDED_BY(mutex_);
};

}  // namespace drupe::daemon
