#include "api/daemon/daemon.h"

#include "base/log.h"

namespace drupe::daemon {
namespace {

constexpr size_t kMaxJobs = 4096;

}  // namespace

Daemon::Daemon(engine::Paths where)
    : paths(std::move(where)),
      jobs(kMaxJobs),
      health({engines, events, [this](auto job) { run_job(std::move(job)); }}),
      supervisor({engines, ends, events, [this](auto job) { run_job(std::move(job)); },
                  [this](const engine::Container& container) { health.started(container); },
                  [this](const engine::Container& container) {
                      health.ended(container.id);
                      execs.drop_container(container.id);
                  }}) {}

void Daemon::run_job(std::function<void()> job) {
    if (!jobs.run(std::move(job))) log(LogLevel::kError, "no thread for a job: too many at once");
}

}  // namespace drupe::daemon
