#pragma once

#include <memory>
#include <vector>

#include "imagefs/ext4/entry.h"
#include "imagefs/ext4/filesystem.h"

namespace drupe::imagefs::ext4 {

/// Puts file contents onto the disk, a megabyte at a time. Long runs of zeroes become holes.
class ContentWriter {
  public:
    explicit ContentWriter(const Filesystem& fs);

    /// The content of a new, empty file whose inode has been written. Changes the inode; writing it
    /// is the caller's.
    [[nodiscard]] Status write(ext2_ino_t ino, Inode& inode, uint64_t size, ContentReader& content);

    /// Whether rewrite() can be used on a file: all its blocks are plain ones.
    [[nodiscard]] bool can_rewrite(ext2_ino_t ino, Inode& inode) const;
    /// Replaces the content of a file of the same size in place, writing only the blocks that
    /// differ: a layer that merely touches a file then stores next to nothing.
    [[nodiscard]] Status rewrite(ext2_ino_t ino, Inode& inode, uint64_t size,
                                 ContentReader& content);

    [[nodiscard]] uint64_t bytes() const { return bytes_; }

  private:
    class Chunks;

    [[nodiscard]] Status write_run(ext2_ino_t ino, Inode& inode, uint64_t first,
                                   std::span<const std::byte> data);
    [[nodiscard]] Status rewrite_chunk(ext2_ino_t ino, Inode& inode, const std::vector<Extent>& map,
                                       uint64_t first, std::span<const std::byte> data);
    [[nodiscard]] Result<uint64_t> place_of(ext2_ino_t ino, Inode& inode, uint64_t logical) const;

    const Filesystem& fs_;
    std::vector<std::byte> buffer_;
    std::vector<std::byte> old_;
    uint64_t goal_ = 0;  ///< Files of a layer lie one after the other.
    uint64_t bytes_ = 0;
};

}  // namespace drupe::imagefs::ext4
