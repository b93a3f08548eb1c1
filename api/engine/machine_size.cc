#include "api/engine/machine_size.h"

namespace drupe::engine {
namespace {

constexpr uint64_t kMaxMemoryBytes = 1ull << 40;
constexpr uint64_t kNano = 1'000'000'000;
constexpr uint64_t kMaxCpus = 32;

}  // namespace

Result<MachineSize> machine_size(uint64_t memory_bytes, uint64_t nano_cpus) {
    if (memory_bytes > kMaxMemoryBytes || nano_cpus > kMaxCpus * kNano) {
        return Error{ErrorCode::kInvalid, "no machine is that large: at most 1 TiB and 32 CPUs"};
    }
    MachineSize size;
    if (memory_bytes == 0) {
        size.ram_bytes = kDefaultRamBytes;
    } else {
        size.ram_bytes = kSmallestRamBytes;
        while (size.ram_bytes < memory_bytes + guest_overhead_bytes(size.ram_bytes)) {
            size.ram_bytes *= 2;
        }
        size.workload_memory_max = memory_bytes;
    }
    size.monitor_memory_max = size.ram_bytes + kMonitorOverheadBytes;
    if (nano_cpus != 0) {
        size.vcpus = static_cast<uint32_t>((nano_cpus + kNano - 1) / kNano);
        // cpu.max counts in steps of 1%; less than that would stop the machine.
        size.cpu_percent = static_cast<uint32_t>((nano_cpus + kNano / 100 - 1) / (kNano / 100));
    }
    return size;
}

}  // namespace drupe::engine
