#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace drupe::confine {

/// What the processes of one cgroup may use. 0: not limited, except where said.
struct CgroupLimits {
    uint64_t memory_max_bytes = 0;
    uint64_t swap_max_bytes = 0;  ///< 0 is no swap, if memory is limited and the host has swap.
    uint32_t cpu_percent = 0;     ///< 150: one and a half CPUs.
    uint32_t pids_max = 0;        ///< Processes and threads.
};

/// What a cgroup has counted so far; 0 where this host doesn't count.
struct CgroupUsage {
    uint64_t cpu_us = 0;
    uint64_t cpu_user_us = 0;
    uint64_t cpu_system_us = 0;
    uint64_t cpu_periods = 0;
    uint64_t cpu_throttled_periods = 0;
    uint64_t cpu_throttled_us = 0;
    uint64_t memory_bytes = 0;
    uint64_t private_bytes = 0;     ///< Of these, all but files' content in the page cache.
    uint64_t memory_max_bytes = 0;  ///< 0: no limit.
    uint64_t processes = 0;         ///< And threads.
    uint64_t read_bytes = 0;        ///< Of all block devices.
    uint64_t write_bytes = 0;
    uint64_t read_operations = 0;
    uint64_t write_operations = 0;
};

/// The cgroup v2 directories of all VMs: ROOT/drupe/ID. There is no cgroup v1 behind it. Keeps no
/// state but a path; several processes may use the same tree.
class CgroupTree {
  public:
    struct Options {
        std::string root = "/sys/fs/cgroup";
        std::string parent = "drupe";
        /// Switched on for the VMs' directories.
        std::vector<std::string> controllers = {"cpu", "memory", "pids"};
        /// Switched on where the host has them.
        std::vector<std::string> optional_controllers = {"io"};
        bool check_filesystem = true;  ///< Tests use plain directories.
        /// For killed processes to be gone: on a busy host their memory takes its time.
        int patience_ms = 10'000;
    };
    /// Checks that ROOT is a cgroup v2 file system that has the controllers, and switches them on.
    /// kUnsupported, with what to do, if not.
    [[nodiscard]] static Result<CgroupTree> open(Options options);

    /// Makes ID's directory with its limits and opens it, for JailSpec::cgroup_fd. One that is left
    /// over is used again, once the processes in it are gone; kConflict if they aren't in time.
    /// Leaves nothing if it fails.
    [[nodiscard]] Result<Fd> create(std::string_view id, const CgroupLimits& limits) const;
    /// SIGKILLs all that is in ID's cgroup. No error if there is none.
    [[nodiscard]] Status kill(std::string_view id) const;
    /// Removes ID's directory once its processes are gone, for which it waits (the kernel
    /// takes a moment after a process was reaped). No error if there is none.
    [[nodiscard]] Status remove(std::string_view id) const;
    /// kNotFound: there is none.
    [[nodiscard]] Result<CgroupUsage> usage(std::string_view id) const;
    /// Changes a cgroup's CPU limit. 0: none.
    [[nodiscard]] Status limit_cpu(std::string_view id, uint32_t cpu_percent) const;
    /// Changes a cgroup's memory limit. 0: none.
    [[nodiscard]] Status limit_memory(std::string_view id, uint64_t memory_max_bytes) const;
    /// Ids that have a directory.
    [[nodiscard]] Result<std::vector<std::string>> list() const;

  private:
    explicit CgroupTree(Options options) : options_(std::move(options)) {}
    [[nodiscard]] std::string parent_path() const { return options_.root + "/" + options_.parent; }
    [[nodiscard]] Result<std::string> path_of(std::string_view id) const;
    [[nodiscard]] Status enable_controllers(const std::string& directory) const;

    Options options_;
};

}  // namespace drupe::confine
