#include "api/daemon/daemon.h"

#include "base/fd.h"
#include "base/log.h"
#include "imagefs/store/sha256.h"

namespace drupe::daemon {
namespace {

constexpr size_t kMaxJobs = 4096;

/// What tells this host from others.
std::string host_id() {
    constexpr size_t kMaxBytes = 256;
    const auto text = read_file("/etc/machine-id", kMaxBytes);
    return text ? text.value() : "";
}

}  // namespace

Daemon::Daemon(engine::Paths where, size_t standbys_wanted)
    : paths(std::move(where)),
      id(imagefs::sha256("druped " + host_id() + paths.root).hex()),
      standbys(engine::make_standbys(paths, standbys_wanted)),
      engines(standbys.get()),
      jobs(kMaxJobs),
      maintenance(engines),
      health({engines, events, [this](const auto& job) { run_job(job); }}),
      supervisor({engines, ends, events, [this](const auto& job) { run_job(job); },
                  [this](const engine::Container& container) { health.started(container); },
                  [this](const engine::Container& container) {
                      health.ended(container.id);
                      execs.drop_container(container.id);
                  },
                  [this](const std::string& removed_id) { removed(removed_id); }}) {}

void Daemon::removed(const std::string& container) {
    health.forget(container);
    ends.removed(container);
    static_cast<void>(pending_streams.take(container));  // closed: it won't be started
}

void Daemon::run_job(const std::function<void()>& job) {
    if (jobs.run(job)) return;
    log(LogLevel::kWarn, "no thread can be had: working on the caller's");
    job();
}

}  // namespace drupe::daemon
