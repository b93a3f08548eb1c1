#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/log.h"
#include "devices/virtio/virtqueue.h"
#include "imagefs/store/block_backend.h"

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

/// What became of a request.
struct BlkOutcome {
    uint32_t written = 0;         ///< Length for the used ring.
    const char* fault = nullptr;  ///< The rule that the guest broke, if it did.
};

/// Serves block requests, one chain at a time (5.2.6).
class BlkRequests {
  public:
    BlkRequests(std::string name, std::string serial)
        : name_(std::move(name)), serial_(std::move(serial)) {}

    /// disk may be nullptr: nothing is inside an empty slot.
    BlkOutcome serve(const DescriptorChain& chain, BlockBackend* disk, uint64_t features);

  private:
    struct Answer;
    struct Header;
    Answer dispatch(const Header& header, const DescriptorChain& chain, BlockBackend* disk,
                    uint64_t features);
    Answer read(const Header& header, const DescriptorChain& chain, BlockBackend* disk);
    Answer write(const Header& header, const DescriptorChain& chain, BlockBackend* disk,
                 uint64_t features);
    Answer flush(BlockBackend* disk);
    Answer get_id(const DescriptorChain& chain) const;
    Answer ranges(const DescriptorChain& chain, BlockBackend* disk, bool zeroes);
    Answer backend_failed(const char* what, const Error& error);

    const std::string name_;
    const std::string serial_;
    std::vector<iovec> iovecs_;  // kept, so that a request allocates nothing
    LogLimit errors_;
};

}  // namespace drupe::virtio
