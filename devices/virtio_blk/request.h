#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/log.h"
#include "devices/virtio/virtqueue.h"
#include "imagefs/store/disk_queue.h"

namespace drupe::virtio {

/// Limits that the configuration space tells the driver and that requests are held to.
struct BlkLimits {
    static constexpr uint64_t kSector = 512;  // virtio's unit, whatever the block size
    static constexpr uint32_t kDiscardSegments = 16;
    static constexpr uint32_t kZeroSegments = 16;
    static constexpr uint32_t kDiscardSectors = (1U << 30) / kSector;  // a segment
    static constexpr uint32_t kZeroSectors = (128U << 20) / kSector;   // may really be written
    static constexpr uint64_t kMaxTransferBytes = 1U << 30;  // preadv's sum stays far below 2 GiB
};

/// What a request is answered with.
struct BlkAnswer {
    uint8_t status = 0;           ///< VIRTIO_BLK_S_*
    uint64_t data = 0;            ///< Bytes filled from the start of the writable part.
    const char* fault = nullptr;  ///< The rule that the guest broke, if it did.
};

/// What block requests mean (5.2.6): chains into a disk's requests, and their ends into answers.
class BlkRequests {
  public:
    BlkRequests(std::string name, std::string serial)
        : name_(std::move(name)), serial_(std::move(serial)) {}

    /// Reads a chain. nullopt: `request` says what the disk has to do. disk may be nullptr: nothing
    /// is inside an empty slot.
    std::optional<BlkAnswer> parse(const DescriptorChain& chain, const BlockBackend* disk,
                                   uint64_t features, imagefs::DiskRequest& request) const;
    /// The answer to a request that the disk has done, or not.
    BlkAnswer answer_to(const imagefs::DiskRequest& request, const Status& status);
    /// Writes the status into the chain; returns the length for the used ring.
    static uint32_t put(const DescriptorChain& chain, const BlkAnswer& answer);

  private:
    struct Header;
    std::optional<BlkAnswer> transfer(const Header& header, const DescriptorChain& chain,
                                      const BlockBackend& disk,
                                      imagefs::DiskRequest& request) const;
    std::optional<BlkAnswer> ranges(const DescriptorChain& chain, const BlockBackend& disk,
                                    imagefs::DiskRequest& request) const;
    BlkAnswer get_id(const DescriptorChain& chain) const;

    const std::string name_;
    const std::string serial_;
    LogLimit errors_;
};

}  // namespace drupe::virtio
