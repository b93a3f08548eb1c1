#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "base/result.h"
#include "imagefs/ext4/directory.h"

namespace drupe::imagefs::ext4 {

using DirectoryBlock = std::array<std::byte, BlockDevice::kBlockSize>;

/// The blocks of a directory in logical order, without checksums.
struct DirectoryImage {
    std::vector<DirectoryBlock> blocks;
    bool indexed = false;  ///< A hash tree: the inode needs EXT2_INDEX_FL.
};

/// Lays a directory out. kLimit beyond what a two-level tree holds.
[[nodiscard]] Result<DirectoryImage> lay_out_directory(const ext2_super_block& super,
                                                       const Directory& directory);

}  // namespace drupe::imagefs::ext4
