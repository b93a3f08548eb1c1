#pragma once

#include <ext2fs/ext2fs.h>

#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "imagefs/ext4/block_device.h"
#include "imagefs/ext4/entry.h"

namespace drupe::imagefs::ext4 {

using Inode = ext2_inode_large;

inline bool is_directory(const Inode& inode) {
    return LINUX_S_ISDIR(inode.i_mode);
}
inline bool is_regular(const Inode& inode) {
    return LINUX_S_ISREG(inode.i_mode);
}
inline bool is_symlink(const Inode& inode) {
    return LINUX_S_ISLNK(inode.i_mode);
}
inline uint64_t inode_size(const Inode& inode) {
    return uint64_t{inode.i_size_high} << 32 | inode.i_size;
}

/// A run of blocks of a file: logical block, place on the disk, length; unwritten ones read as
/// zeroes.
struct Extent {
    uint64_t logical = 0;
    uint64_t physical = 0;
    uint64_t count = 0;
    bool unwritten = false;
};

/// The owner of an open libext2fs file system over a BlockDevice. Refuses features outside the ones
/// our own formatter uses. Internal to imagefs/ext4.
class Filesystem {
  public:
    enum class Access { kReadOnly, kReadWrite };

    [[nodiscard]] static Result<Filesystem> open(BlockDevice& device, Access access);
    /// Takes over one that ext2fs_initialize made.
    explicit Filesystem(ext2_filsys fs) : fs_(fs) {}

    [[nodiscard]] ext2_filsys get() const { return fs_.get(); }

    [[nodiscard]] Result<Inode> read_inode(ext2_ino_t ino) const;
    [[nodiscard]] Status write_inode(ext2_ino_t ino, Inode inode) const;
    [[nodiscard]] Result<ext2_ino_t> allocate_inode(ext2_ino_t parent, uint32_t mode) const;
    /// Gives back the inode's blocks, attributes and number. inode.i_links_count is 0.
    [[nodiscard]] Status free_inode(ext2_ino_t ino, Inode& inode) const;

    /// The whole block map. kUnsupported if the file isn't mapped by extents.
    [[nodiscard]] Result<std::vector<Extent>> extents(ext2_ino_t ino, Inode& inode) const;
    /// Gives blocks [first, first + count) a place near goal; their content is the caller's to
    /// write. Changes and writes the inode.
    [[nodiscard]] Status allocate_blocks(ext2_ino_t ino, Inode& inode, uint64_t goal,
                                         uint64_t first, uint64_t count) const;
    /// Frees the blocks from first on.
    [[nodiscard]] Status truncate_blocks(ext2_ino_t ino, Inode& inode, uint64_t first) const;

    [[nodiscard]] Result<std::vector<Xattr>> xattrs(ext2_ino_t ino) const;
    /// Replaces all extended attributes. The inode has been written before.
    [[nodiscard]] Status set_xattrs(ext2_ino_t ino, const std::vector<Xattr>& list) const;

    [[nodiscard]] Result<std::string> read_link(ext2_ino_t ino, Inode& inode) const;

    [[nodiscard]] Status read_blocks(uint64_t block, std::span<std::byte> out) const;
    [[nodiscard]] Status write_blocks(uint64_t block, std::span<const std::byte> data) const;

    /// Writes everything back and closes; the object is empty afterwards.
    [[nodiscard]] Status close();

  private:
    struct Free {
        void operator()(ext2_filsys fs) const;
    };
    std::unique_ptr<struct_ext2_filsys, Free> fs_;
};

/// Turns a libext2fs return code into an Error that says what was being done.
[[nodiscard]] Status check_ext2(errcode_t code, std::string_view what);

}  // namespace drupe::imagefs::ext4
