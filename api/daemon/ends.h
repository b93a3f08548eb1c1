#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/fd.h"
#include "base/mutex.h"

namespace drupe::daemon {

/// How a container's machine ended.
struct End {
    uint32_t exit_code = 0;
    std::string error;  ///< Why it couldn't run; empty if it ran.
    /// Of one that was made with the label drupe.timing: what became when (CLOCK_MONOTONIC ns), and
    /// KVM's counts.
    std::map<std::string, uint64_t> marks{};
    std::map<std::string, uint64_t> counts{};
};

/// Who waits for which container's end or removal. Any thread.
class Ends {
  public:
    /// Sees what happens to one container from its making on. Its thread polls event_fd().
    class Waiter {
      public:
        Waiter(Ends& ends, std::string id, Fd event)
            : ends_(ends), id_(std::move(id)), event_(std::move(event)) {}
        Waiter(const Waiter&) = delete;
        Waiter& operator=(const Waiter&) = delete;
        ~Waiter();

        [[nodiscard]] int event_fd() const { return event_.get(); }
        /// The last end.
        [[nodiscard]] std::optional<End> end() const;
        [[nodiscard]] bool removed() const;

      private:
        friend class Ends;
        Ends& ends_;
        std::string id_;
        Fd event_;
        std::optional<End> end_;
        bool removed_ = false;
    };

    [[nodiscard]] Result<std::unique_ptr<Waiter>> watch(const std::string& id);
    void ended(const std::string& id, const End& end);
    /// Of one of those that ended last, whether somebody watched or not.
    [[nodiscard]] std::optional<End> last(const std::string& id) const;
    void removed(const std::string& id);

  private:
    static constexpr size_t kKept = 256;

    mutable Mutex mutex_;
    std::deque<std::pair<std::string, End>> last_ DRUPE_GUARDED_BY(mutex_);  // the latest first
    std::multimap<std::string, Waiter*> waiters_ DRUPE_GUARDED_BY(mutex_);
};

}  // namespace drupe::daemon
