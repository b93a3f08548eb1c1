#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "devices/virtio/device.h"

namespace drupe::virtio {

/// A memory balloon (virtio 1.2, 5.5) that only hears of free memory: the driver reports ranges
/// that nobody in the guest uses (5.5.6.7, VIRTIO_BALLOON_F_REPORTING), and the device gives their
/// whole pages back to the host, at most 128 MiB of each chain. It never asks for memory. It keeps
/// no state beyond its queues.
class VirtioBalloon : public VirtioDevice {
  public:
    /// With the features and queues that it offers, Linux and QEMU number the queue of reports 2.
    static constexpr size_t kReportingQueue = 2;

    /// How many chains of free ranges have come so far. On the device's loop.
    [[nodiscard]] virtual uint64_t reports() const = 0;
};

[[nodiscard]] std::shared_ptr<VirtioBalloon> make_virtio_balloon(std::string name);

}  // namespace drupe::virtio
