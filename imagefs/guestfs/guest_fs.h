#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "imagefs/ext4/entry.h"
#include "imagefs/store/block_backend.h"

namespace drupe::imagefs::guestfs {

inline constexpr size_t kBlockSize = BlockBackend::kBlockSize;
inline constexpr size_t kInodeBytes = 256;
inline constexpr uint32_t kRootInode = 2;
/// Journal, resize inode and the like are below it.
inline constexpr uint32_t kFirstInode = 11;

/// What a file system may cost whoever reads it. Going beyond is kLimit.
struct ReadLimits {
    uint64_t max_metadata_blocks = 16'000'000;  ///< Read in all, each time it is asked for.
    uint64_t max_directory_bytes = 256 << 20;   ///< Of one directory.
    uint64_t max_extents = 4'000'000;           ///< Of one file.
    /// Open a file system whose journal waits to be replayed, too: what is read may be stale.
    bool with_waiting_journal = false;
};

struct Time {
    int64_t seconds = 0;
    uint32_t nanoseconds = 0;
    friend bool operator==(const Time&, const Time&) = default;
};

using RawInode = std::array<std::byte, kInodeBytes>;

/// An inode as it is on the disk, taken apart. Nothing in it is trusted.
struct Inode {
    uint32_t number = 0;
    uint32_t generation = 0;
    uint16_t mode = 0;  ///< With the type: S_IFMT.
    uint32_t uid = 0;
    uint32_t gid = 0;
    uint32_t links = 0;
    uint32_t flags = 0;
    uint64_t size = 0;
    Time mtime;
    Time ctime;
    Time crtime;
    uint64_t xattr_block = 0;
    RawInode raw{};  ///< Block map and attributes are read out of it when they are asked for.

    [[nodiscard]] bool is_directory() const;
    [[nodiscard]] bool is_regular() const;
    [[nodiscard]] bool is_symlink() const;
    /// Whether it is one file through its whole life: a number that was used again isn't.
    [[nodiscard]] bool same_file(const Inode& other) const {
        return number == other.number && generation == other.generation && crtime == other.crtime &&
               ((mode ^ other.mode) & 0170000) == 0;
    }
};

/// A run of blocks of a file. Unwritten ones read as zeroes.
struct Extent {
    uint64_t logical = 0;
    uint64_t physical = 0;
    uint64_t count = 0;
    bool unwritten = false;
};

struct Name {
    std::string name;
    uint32_t inode = 0;
};

struct Directory {
    uint32_t parent = 0;      ///< What ".." says.
    std::vector<Name> names;  ///< Sorted by bytes, each once, without "." and "..".
};

/// Where the parts of a file system lie. Two disks of one image have the same.
struct Geometry {
    uint64_t blocks = 0;
    uint32_t inodes = 0;
    uint32_t inodes_per_group = 0;
    std::vector<uint64_t> inode_tables;  ///< First block, for each group.

    [[nodiscard]] uint32_t table_blocks() const {
        return inodes_per_group / (kBlockSize / kInodeBytes);
    }
    /// The block that an inode lies in, and the byte in it. 1 <= number <= inodes.
    [[nodiscard]] uint64_t block_of(uint32_t number) const;
    [[nodiscard]] size_t offset_of(uint32_t number) const;
};

/// Reads an ext4 file system that a hostile kernel may have written: a parser of its own, because
/// libext2fs trusts what it reads. Knows only what our formatter makes and Linux adds to it by
/// itself, and refuses the rest (kUnsupported); a journal that has to be replayed is kConflict;
/// whatever doesn't add up is kCorrupt. Every loop is bounded by ReadLimits or by the structure's
/// own size; nothing is written. Borrows the disk. One thread.
class GuestFs {
  public:
    [[nodiscard]] static Result<GuestFs> open(BlockBackend& disk, const ReadLimits& limits = {});
    GuestFs(GuestFs&&) noexcept;
    GuestFs& operator=(GuestFs&&) noexcept;
    ~GuestFs();

    [[nodiscard]] const Geometry& geometry() const { return geometry_; }
    /// As its block groups say; at most all blocks.
    [[nodiscard]] uint64_t free_blocks() const { return free_blocks_; }
    /// Metadata blocks that came from the disk and not from the cache.
    [[nodiscard]] uint64_t blocks_read() const { return blocks_read_; }

    /// kCorrupt: there is no such inode, or nothing uses it.
    [[nodiscard]] Result<Inode> inode(uint32_t number);
    [[nodiscard]] Result<Directory> directory(const Inode& inode);
    /// In ascending order, apart from each other, inside the disk and the file.
    [[nodiscard]] Result<std::vector<Extent>> extents(const Inode& inode);
    [[nodiscard]] Result<std::string> read_link(const Inode& inode);
    /// Sorted by name, as the system calls show them.
    [[nodiscard]] Result<std::vector<ext4::Xattr>> xattrs(const Inode& inode);
    /// A file's data; past the cache. The range lies inside the disk (kInvalid).
    [[nodiscard]] Status read_data(uint64_t block, std::span<std::byte> out);
    /// A block of metadata, valid until the next call of anything here.
    [[nodiscard]] Result<std::span<const std::byte, kBlockSize>> metadata(uint64_t block);

  private:
    struct Cache;
    GuestFs(BlockBackend& disk, const ReadLimits& limits);
    [[nodiscard]] Status read_superblock();
    [[nodiscard]] Status read_groups(uint32_t groups, uint32_t descriptor_bytes);

    BlockBackend* disk_;
    ReadLimits limits_;
    Geometry geometry_;
    uint64_t free_blocks_ = 0;
    uint64_t blocks_read_ = 0;
    uint64_t blocks_asked_ = 0;
    std::unique_ptr<Cache> cache_;
};

/// Takes a raw inode apart; nothing is checked.
[[nodiscard]] Inode decode_inode(uint32_t number, std::span<const std::byte, kInodeBytes> raw);

/// What a tar says of a file: everything but its path, and a symlink's target. Sockets have no
/// type there: nullopt.
[[nodiscard]] std::optional<ext4::Entry> describe(const Inode& inode);

}  // namespace drupe::imagefs::guestfs
