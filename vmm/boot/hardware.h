#pragma once

#include <cstdint>
#include <vector>

namespace drupe {

/// What the kernel has to be told, by whichever means.
struct Hardware {
    struct Device {
        uint64_t address;  ///< Guest-physical.
        uint64_t size;
        uint32_t gsi;  ///< Edge-triggered IOAPIC pin.
    };
    uint32_t vcpus = 1;                 ///< APIC ids 0 to vcpus - 1.
    std::vector<Device> virtio_mmio{};  ///< In the order in which the kernel shall number them.
};

}  // namespace drupe
