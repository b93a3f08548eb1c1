#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/result.h"
#include "imagefs/ext4/filesystem.h"

namespace drupe::imagefs::ext4 {

struct DirectoryEntry {
    ext2_ino_t ino = 0;
    uint8_t type = EXT2_FT_UNKNOWN;  ///< EXT2_FT_*
};

/// A directory as a map from names to inodes, without "." and "..". libext2fs only knows linear
/// directories, in which every lookup reads all of it; this is read once, changed in memory and
/// written once.
struct Directory {
    ext2_ino_t ino = 0;
    ext2_ino_t parent = 0;
    std::map<std::string, DirectoryEntry, std::less<>> entries;
    bool dirty = false;
};

[[nodiscard]] Result<Directory> load_directory(const Filesystem& fs, ext2_ino_t ino);

/// Writes it anew, the same bytes for the same entries: one linear block when that is enough, else
/// a hash tree (the kernel's dx format) with leaves four fifths full, so that a guest's first new
/// names don't split them. Sets size and link count of the inode.
[[nodiscard]] Status save_directory(const Filesystem& fs, const Directory& directory);

}  // namespace drupe::imagefs::ext4
