#pragma once

#include <functional>
#include <memory>
#include <string>

#include "api/daemon/ends.h"
#include "api/daemon/engine_pool.h"
#include "api/daemon/events.h"
#include "api/daemon/execs.h"
#include "api/daemon/health.h"
#include "api/daemon/maintenance.h"
#include "api/daemon/pending_streams.h"
#include "api/daemon/supervisor.h"
#include "api/engine/paths.h"
#include "api/server/threads.h"

namespace drupe::daemon {

/// What endpoints work on: the engine, and what only lives as long as the daemon does. Each part
/// is any thread's.
struct Daemon {
    /// standbys: so many machines wait for a start of each shape.
    explicit Daemon(engine::Paths where, size_t standbys_wanted = 0);

    engine::Paths paths;
    bool experimental = true;  ///< Docker's clients then show `docker checkpoint`.
    std::string id;            ///< Of this daemon, for /info: stays the same on one $DRUPE_ROOT.
    std::unique_ptr<engine::Standbys> standbys;
    EnginePool engines;
    Events events;
    Ends ends;
    PendingStreams pending_streams;
    Execs execs;
    http::Threads jobs;
    Maintenance maintenance;
    Health health;
    Supervisor supervisor;  ///< Last: its jobs use the others.

    /// A container isn't there any more: tells who waits, and forgets it.
    void removed(const std::string& id);
    /// Does something that keeps no request waiting, on a thread of its own.
    void run_job(const std::function<void()>& job);
};

}  // namespace drupe::daemon
