#pragma once

#include <memory>
#include <string>

#include "base/event_loop.h"
#include "base/result.h"
#include "devices/virtio/device.h"
#include "imagefs/store/block_backend.h"
#include "imagefs/store/disk_io.h"

namespace drupe::virtio {

/// A block device (virtio 1.2, 5.2) with one queue and 4096-byte logical blocks: a slot for a disk.
/// virtio-mmio has no hotplug, so slots are declared at boot; an empty one has capacity 0 and is
/// filled later. Many requests are in flight at once (DiskQueue says which wait for which),
/// straight between guest memory and the disk's files. quiesce() is done when the last has ended,
/// which on a disk that waits for room on the host takes until there is room; reset() takes back
/// what hasn't begun and waits for the rest.
class VirtioBlk : public VirtioDevice {
  public:
    struct Options {
        std::string name;                       ///< For events and logs: "blk0".
        std::string serial;                     ///< What GET_ID gives: at most 20 bytes are used.
        std::unique_ptr<BlockBackend> backend;  ///< nullptr: an empty slot.
        EventLoop* loop = nullptr;              ///< The device's; outlives it.
        std::unique_ptr<imagefs::DiskIo> io{};  ///< nullptr: plain calls, one at a time.
    };

    /// Puts a disk into an empty slot and tells the driver, which finds the new capacity (on the
    /// loop). kConflict if the slot has one already; kInvalid if it has another size than the one
    /// that was detached. Features can't change any more, so a read-only
    /// disk is one whose writes fail.
    [[nodiscard]] virtual Status attach(std::unique_ptr<BlockBackend> backend) = 0;

    /// Takes the disk out while the device is quiet (on the loop). The driver isn't told: the next
    /// one that is attached must have the same size.
    [[nodiscard]] virtual std::unique_ptr<BlockBackend> detach() = 0;

    /// The disk, or nullptr. On the loop.
    [[nodiscard]] virtual BlockBackend* backend() const = 0;
    /// The host is full and the guest's requests wait. Any thread.
    [[nodiscard]] virtual bool waits_for_room() const = 0;
};

[[nodiscard]] std::shared_ptr<VirtioBlk> make_virtio_blk(VirtioBlk::Options options);

}  // namespace drupe::virtio
