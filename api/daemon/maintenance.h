#pragma once

#include <thread>

#include "api/daemon/engine_pool.h"
#include "base/mutex.h"

namespace drupe::daemon {

/// Has the store compacted after what was sealed, in the background: one at a time, at a low
/// priority. Any thread.
class Maintenance {
  public:
    explicit Maintenance(EnginePool& engines) : engines_(engines) {}
    Maintenance(const Maintenance&) = delete;
    Maintenance& operator=(const Maintenance&) = delete;
    /// Waits for the end of what is being done.
    ~Maintenance();

    /// Something was sealed. What comes while one is at work is done by one more after it.
    void ask();

  private:
    void work();

    EnginePool& engines_;
    Mutex mutex_;
    std::thread worker_ DRUPE_GUARDED_BY(mutex_);  // of its own: its priority is the thread's
    bool working_ DRUPE_GUARDED_BY(mutex_) = false;
    bool asked_ DRUPE_GUARDED_BY(mutex_) = false;
};

}  // namespace drupe::daemon
