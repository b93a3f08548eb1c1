#include "api/daemon/daemon.h"

namespace drupe::daemon {
namespace {

constexpr size_t kMaxJobs = 4096;

}  // namespace

Daemon::Daemon(engine::Paths where)
    : paths(std::move(where)),
      jobs(kMaxJobs),
      supervisor({engines,
                  ends,
                  events,
                  [this](std::function<void()> job) { static_cast<void>(jobs.run(std::move(job))); },
                  nullptr,
                  [this](const engine::Container& container) {
                      execs.drop_container(container.id);
                  }}) {}

}  // namespace drupe::daemon
