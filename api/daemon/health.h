#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "api/daemon/engine_pool.h"
#include "api/daemon/events.h"
#include "api/engine/container.h"
#include "base/event_loop.h"
#include "base/mutex.h"

namespace drupe::daemon {

/// Runs the health checks of the containers that have one, as execs, and keeps what they came to.
/// In this process's memory alone: a new daemon begins again with "starting". Any thread.
class Health {
  public:
    struct Parts {
        EnginePool& engines;
        Events& events;
        std::function<void(std::function<void()>)> run_job;
    };
    explicit Health(Parts parts);
    Health(const Health&) = delete;
    Health& operator=(const Health&) = delete;
    ~Health();

    void started(const engine::Container& container);
    void ended(const std::string& id);
    /// The container was removed.
    void forget(const std::string& id);

    /// "starting", "healthy", "unhealthy"; empty: it has no check, or doesn't run.
    [[nodiscard]] std::string status(const std::string& id) const;
    /// State.Health of GET /containers/ID/json; null if it never had one.
    [[nodiscard]] nlohmann::ordered_json json(const std::string& id) const;

  private:
    struct Probe {
        uint64_t start_ns = 0;
        uint64_t end_ns = 0;
        int exit_code = 0;
        std::string output;
    };
    struct Checked {
        engine::HealthCheck check;
        engine::Container container;
        uint64_t run = 0;  ///< Which start of the container's it belongs to.
        bool running = true;
        std::string status = "starting";
        uint32_t failures = 0;
        std::deque<Probe> log;
    };
    void schedule(const std::string& id, uint64_t run, uint64_t delay_ns);
    void check_job(const std::string& id, uint64_t run);
    [[nodiscard]] bool can_answer(const std::string& id);
    [[nodiscard]] Probe probe(const engine::Container& container, const engine::HealthCheck& check);
    void note(const std::string& id, uint64_t run, Probe probe);

    Parts parts_;
    mutable Mutex mutex_;
    std::map<std::string, Checked> checked_ DRUPE_GUARDED_BY(mutex_);
    uint64_t runs_ DRUPE_GUARDED_BY(mutex_) = 0;
    std::unique_ptr<EventLoop> loop_;
    std::map<std::string, EventLoop::Watch> timers_;  // the loop's thread's
    std::thread thread_;
};

}  // namespace drupe::daemon
