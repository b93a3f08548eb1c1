#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "imagefs/ext4/block_device.h"

namespace drupe::imagefs::ext4 {

using Block = std::array<std::byte, BlockDevice::kBlockSize>;

/// What replaying a journal needs to know of a file system.
struct Disk {
    uint64_t blocks = 0;
    bool needs_replay = false;
    std::vector<uint64_t> journal;  ///< Where each block of the journal lies.
};

/// Reads superblock, group descriptor, inode 8 and its extents; trusts none of them. The journal is
/// only looked for if it needs to be replayed. kUnsupported: not one of our own file systems.
[[nodiscard]] Result<Disk> find_journal(BlockDevice& device);

/// Says in the superblock that the journal is empty.
[[nodiscard]] Status clear_needs_replay(BlockDevice& device);

}  // namespace drupe::imagefs::ext4
