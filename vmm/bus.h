#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"

namespace drupe {

/// Something that answers accesses in a range of guest-physical addresses or ports. Called on vCPU
/// threads, any of them, at the same time: an implementation locks or hands over what it shares.
/// offset is from the start of its range; the size (1 to 8 bytes) is whatever the guest used and
/// may be unaligned, odd or reach past the range. Must not block on the guest or on I/O.
class BusDevice {
  public:
    virtual ~BusDevice() = default;
    virtual void read(uint64_t offset, std::span<std::byte> out) = 0;
    virtual void write(uint64_t offset, std::span<const std::byte> data) = 0;
};

/// Finds the device at an address. Built before the vCPUs start and not changed after: no lock.
class Bus {
  public:
    /// Ranges may not be empty, overlap or overflow (kInvalid).
    [[nodiscard]] Status attach(uint64_t start, uint64_t size, std::shared_ptr<BusDevice> device);

    /// False if nothing is there: reads then give all ones, writes are dropped (as on a PC's bus).
    bool read(uint64_t address, std::span<std::byte> out) const;
    bool write(uint64_t address, std::span<const std::byte> data) const;

  private:
    struct Entry {
        uint64_t start;
        uint64_t size;
        std::shared_ptr<BusDevice> device;
    };
    [[nodiscard]] const Entry* find(uint64_t address) const;
    std::vector<Entry> entries_;  // sorted by start
};

}  // namespace drupe
