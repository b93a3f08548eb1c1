#pragma once

#include <cstdint>

#include "base/result.h"

namespace drupe::engine {

/// The machine that a container gets for its limits.
struct MachineSize {
    uint64_t ram_bytes = 0;            ///< A bucket: 128 MiB, 256 MiB, 512 MiB, 1 GiB, ...
    uint32_t vcpus = 1;                ///< 1 to 32.
    uint64_t workload_memory_max = 0;  ///< memory.max of the cgroup in the guest; 0: none.
    uint64_t monitor_memory_max = 0;   ///< memory.max of the monitor's cgroup on the host.
    uint32_t cpu_percent = 0;          ///< cpu.max of that cgroup, in percent of a CPU; 0: none.
};

/// RAM of a container without a memory limit. The host pays for what is used, not for this.
inline constexpr uint64_t kDefaultRamBytes = 512ull << 20;
inline constexpr uint64_t kSmallestRamBytes = 128ull << 20;

/// What the guest's kernel and drupe-init keep for themselves of so much RAM: a fixed part and the
/// kernel's page structures (1/64).
[[nodiscard]] constexpr uint64_t guest_overhead_bytes(uint64_t ram_bytes) {
    return (32ull << 20) + ram_bytes / 64;
}
/// What the monitor needs beside the guest's RAM: its own memory, page tables, page cache it
/// dirties.
inline constexpr uint64_t kMonitorOverheadBytes = 64ull << 20;

/// memory_bytes: the workload's limit, 0 for none; nano_cpus: 1.5 CPUs are 1500000000, 0 for one
/// vCPU without a limit. Few sizes exist, so that few templates are needed later.
[[nodiscard]] Result<MachineSize> machine_size(uint64_t memory_bytes, uint64_t nano_cpus);

}  // namespace drupe::engine
