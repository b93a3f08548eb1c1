#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "monitor/config.h"
#include "monitor/confine/cgroup.h"

namespace drupe::engine {

/// A monitor to start. The configuration's descriptor numbers are this process's; the launcher
/// passes on exactly those, and renumbers them if it has to.
struct LaunchSpec {
    MonitorConfig config;
    std::string program;            ///< Path of drupe-vmm.
    uint32_t uid = 0;               ///< Host user and group.
    uint64_t memory_max_bytes = 0;  ///< Of the monitor's cgroup.
    uint32_t cpu_percent = 0;       ///< Of the same; 0: no limit.
    int log_fd = -1;                ///< Its standard error.
};

/// What a monitor's cgroup on the host has counted.
using HostUsage = confine::CgroupUsage;

/// Starts monitors, confined, and cleans up after them. A seam: tests have a fake.
class MonitorLauncher {
  public:
    virtual ~MonitorLauncher() = default;

    /// Starts drupe-vmm and returns its process id on the host, as soon as it runs. Reports what
    /// can't be set up (cgroup, namespaces, user) as an error; nothing is left then.
    [[nodiscard]] virtual Result<pid_t> launch(const LaunchSpec& spec) = 0;

    /// SIGKILLs everything of a container's monitor, by its cgroup. No error if nothing is left.
    [[nodiscard]] virtual Status kill_all(const std::string& id) = 0;
    /// Gives back what launch() made on the host (the cgroup) once the monitor has ended. No error
    /// if there is nothing.
    [[nodiscard]] virtual Status release(const std::string& id) = 0;
    /// kNotFound: nothing is counted for it.
    [[nodiscard]] virtual Result<HostUsage> usage(const std::string& id) = 0;
    /// Changes LaunchSpec::cpu_percent of one that runs.
    [[nodiscard]] virtual Status limit_cpu(const std::string& id, uint32_t cpu_percent) = 0;
    /// Changes LaunchSpec::memory_max_bytes of one that runs.
    [[nodiscard]] virtual Status limit_memory(const std::string& id, uint64_t bytes) = 0;
    /// Ids of containers that something is left of, whether their monitors live or not.
    [[nodiscard]] virtual Result<std::vector<std::string>> leftovers() = 0;
};

}  // namespace drupe::engine
