#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "api/daemon/ends.h"
#include "api/daemon/engine_pool.h"
#include "api/daemon/events.h"
#include "api/engine/engine.h"
#include "base/event_loop.h"
#include "base/mutex.h"

namespace drupe::daemon {

/// Watches the machines that run, whoever started them: sees each end, writes it down, tells who
/// waits, starts again what its policy wants, and removes what is to be removed. One thread that
/// never blocks; the work is done by the jobs that it gives to `run_job`.
class Supervisor {
  public:
    struct Parts {
        EnginePool& engines;
        Ends& ends;
        Events& events;
        std::function<void(std::function<void()>)> run_job;
        /// Called by a job after each start, and after each end, of a container.
        std::function<void(const engine::Container&)> on_started;
        std::function<void(const engine::Container&)> on_ended;
        /// Called when a container isn't there any more.
        std::function<void(const std::string& id)> on_removed;
    };
    explicit Supervisor(Parts parts);
    Supervisor(const Supervisor&) = delete;
    Supervisor& operator=(const Supervisor&) = delete;
    ~Supervisor();

    /// Puts right what a daemon before left, adopts the machines that run, and starts what its
    /// policy wants to run.
    void adopt();

    /// While it lives, a container is being started, and its machine is the starter's. Any thread.
    class Claim {
      public:
        Claim(Supervisor& supervisor, std::string id);
        Claim(const Claim&) = delete;
        Claim& operator=(const Claim&) = delete;
        ~Claim();

      private:
        Supervisor& supervisor_;
        std::string id_;
    };
    /// A machine that has started. Any thread.
    void watch(engine::Machine machine);
    /// Concludes a machine's end on the caller's thread: row, waiters, events, removal. Any thread
    /// but the supervisor's.
    [[nodiscard]] Result<engine::Ended> conclude(engine::Machine machine);

  private:
    struct Entry {
        engine::Machine machine;
        EventLoop::Watch watch;
        EventLoop::Watch first_look;  ///< When it will have shown what it needs at first.
    };
    void on_readable(uint64_t number);
    [[nodiscard]] bool is_watched(const std::string& id) const DRUPE_EXCLUDES(mutex_);
    void forget(const std::string& id) DRUPE_EXCLUDES(mutex_);
    void first_look(uint64_t number);
    void end_job(engine::Machine machine);
    void consider_restart(const engine::Container& container);
    void schedule_restart(const std::string& id, std::chrono::milliseconds delay);
    void restart_job(const std::string& id);
    void scan_later();
    void scan_job(bool first);
    void look_at_unwatched(engine::Engine& engine);

    Parts parts_;
    std::unique_ptr<EventLoop> loop_;
    // The loop's thread's:
    std::map<uint64_t, Entry>
        entries_;  // by a number: a container may run again before its end is seen
    std::map<std::string, EventLoop::Watch> restarts_;
    EventLoop::Watch scan_;

    mutable Mutex mutex_;
    std::multiset<std::string> watched_ DRUPE_GUARDED_BY(mutex_);  // ids of entries_
    /// Ran when they were seen last, and their monitors have no place for us: scans look at them.
    std::set<std::string> unwatched_ DRUPE_GUARDED_BY(mutex_);
    uint64_t next_ DRUPE_GUARDED_BY(mutex_) = 1;
    std::thread thread_;
};

}  // namespace drupe::daemon
