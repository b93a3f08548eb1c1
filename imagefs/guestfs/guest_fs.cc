#include "imagefs/guestfs/guest_fs.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "imagefs/guestfs/bytes.h"

namespace drupe::imagefs::guestfs {
namespace {

// The superblock's fields (Linux, fs/ext4/ext4.h).
constexpr size_t kSuperOffset = 1024;
constexpr size_t kSuperBytes = 1024;
constexpr uint16_t kMagic = 0xEF53;
constexpr uint32_t kLogBlockSize = 2;  // 1024 << 2
constexpr uint32_t kBlocksPerGroup = 8 * kBlockSize;
constexpr uint32_t kDescriptorBytes = 64;

// What our formatter sets (imagefs/ext4/format.cc); a kernel adds nothing to it.
constexpr uint32_t kCompatible = 0x4 | 0x8 | 0x10 | 0x20;  // journal, xattrs, resize, dir_index
constexpr uint32_t kNeedsRecovery = 0x4;
constexpr uint32_t kFiletype = 0x2;
constexpr uint32_t kExtents = 0x40;
constexpr uint32_t k64Bit = 0x80;
constexpr uint32_t kFlexGroups = 0x200;
constexpr uint32_t kChecksumSeed = 0x2000;
constexpr uint32_t kNeeded = kFiletype | kExtents | k64Bit;
constexpr uint32_t kIncompatible = kNeeded | kFlexGroups | kChecksumSeed;
// sparse_super, large_file, huge_file, dir_nlink, extra_isize, metadata_csum
constexpr uint32_t kReadOnlyCompatible = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400;

constexpr size_t kCacheLines = 1024;

Error corrupt(std::string what) {
    return Error{ErrorCode::kCorrupt, "the disk's file system: " + std::move(what)};
}

Status check_features(std::span<const std::byte> super, bool with_waiting_journal) {
    const uint32_t compatible = u32(super, 92);
    uint32_t incompatible = u32(super, 96);
    const uint32_t read_only = u32(super, 100);
    if (u16(super, 56) != kMagic) return corrupt("this is no ext4");
    if (with_waiting_journal) incompatible &= ~kNeedsRecovery;
    if ((incompatible & kNeedsRecovery) != 0) {
        return Error{ErrorCode::kConflict,
                     "the disk's file system wasn't unmounted: its journal has to be replayed "
                     "before anything can be read (start and stop the container once)"};
    }
    const bool known = (compatible & ~kCompatible) == 0 && (incompatible & ~kIncompatible) == 0 &&
                       (incompatible & kNeeded) == kNeeded &&
                       (read_only & ~kReadOnlyCompatible) == 0;
    if (!known || u32(super, 24) != kLogBlockSize || u16(super, 88) != kInodeBytes ||
        u16(super, 254) != kDescriptorBytes || u32(super, 32) != kBlocksPerGroup ||
        u32(super, 20) != 0) {
        return Error{ErrorCode::kUnsupported,
                     fmt::format("the disk's file system isn't of the kind that images have "
                                 "(features {:#x} {:#x} {:#x}, inodes of {} bytes)",
                                 compatible, incompatible, read_only, u16(super, 88))};
    }
    return ok();
}

}  // namespace

/// Direct-mapped: inode tables and directories are walked in an order that makes that enough.
struct GuestFs::Cache {
    struct Line {
        uint64_t block = UINT64_MAX;
        std::array<std::byte, kBlockSize> data;
    };
    std::vector<std::unique_ptr<Line>> lines{kCacheLines};

    Line& line_of(uint64_t block) {
        std::unique_ptr<Line>& line = lines[block % kCacheLines];
        if (!line) line = std::make_unique<Line>();
        return *line;
    }
};

GuestFs::GuestFs(BlockBackend& disk, const ReadLimits& limits)
    : disk_(&disk), limits_(limits), cache_(std::make_unique<Cache>()) {}
GuestFs::GuestFs(GuestFs&&) noexcept = default;
GuestFs& GuestFs::operator=(GuestFs&&) noexcept = default;
GuestFs::~GuestFs() = default;

uint64_t Geometry::block_of(uint32_t number) const {
    const uint32_t in_group = (number - 1) % inodes_per_group;
    return inode_tables[(number - 1) / inodes_per_group] + in_group / (kBlockSize / kInodeBytes);
}

size_t Geometry::offset_of(uint32_t number) const {
    return (number - 1) % inodes_per_group % (kBlockSize / kInodeBytes) * kInodeBytes;
}

Result<GuestFs> GuestFs::open(BlockBackend& disk, const ReadLimits& limits) {
    GuestFs fs(disk, limits);
    TRY(fs.read_superblock());
    return fs;
}

Status GuestFs::read_superblock() {
    geometry_.blocks = disk_->size_bytes() / kBlockSize;
    TRY_ASSIGN(const auto block, metadata(0));
    const auto super = block.subspan(kSuperOffset, kSuperBytes);
    TRY(check_features(super, limits_.with_waiting_journal));
    const uint64_t blocks = uint64_t{u32(super, 336)} << 32 | u32(super, 4);
    const uint32_t inodes = u32(super, 0);
    const uint32_t per_group = u32(super, 40);
    if (blocks == 0 || blocks > geometry_.blocks) {
        return corrupt(fmt::format("it has {} blocks, its disk {}", blocks, geometry_.blocks));
    }
    const uint64_t groups = (blocks + kBlocksPerGroup - 1) / kBlocksPerGroup;
    if (per_group == 0 || per_group > kBlocksPerGroup ||
        per_group % (kBlockSize / kInodeBytes) != 0 || inodes != groups * per_group) {
        return corrupt(
            fmt::format("{} inodes, {} in each of {} groups", inodes, per_group, groups));
    }
    geometry_.blocks = blocks;
    geometry_.inodes = inodes;
    geometry_.inodes_per_group = per_group;
    return read_groups(static_cast<uint32_t>(groups), kDescriptorBytes);
}

Status GuestFs::read_groups(uint32_t groups, uint32_t descriptor_bytes) {
    const uint32_t per_block = kBlockSize / descriptor_bytes;
    geometry_.inode_tables.reserve(groups);
    for (uint32_t group = 0; group < groups; ++group) {
        TRY_ASSIGN(const auto block, metadata(1 + group / per_block));
        const auto descriptor = block.subspan(group % per_block * size_t{descriptor_bytes});
        const uint64_t table = uint64_t{u32(descriptor, 40)} << 32 | u32(descriptor, 8);
        if (table == 0 || table > geometry_.blocks ||
            geometry_.table_blocks() > geometry_.blocks - table) {
            return corrupt(fmt::format("group {}'s inode table is at block {}", group, table));
        }
        geometry_.inode_tables.push_back(table);
        free_blocks_ += uint64_t{u16(descriptor, 44)} << 16 | u16(descriptor, 12);
    }
    if (free_blocks_ > geometry_.blocks) return corrupt("more blocks are free than it has");
    return ok();
}

Result<std::span<const std::byte, kBlockSize>> GuestFs::metadata(uint64_t block) {
    if (block >= geometry_.blocks) {
        return corrupt(fmt::format("block {} of {} is asked for", block, geometry_.blocks));
    }
    if (++blocks_asked_ > limits_.max_metadata_blocks) {
        return Error{ErrorCode::kLimit,
                     fmt::format("the disk's file system: reading it takes more than {} blocks",
                                 limits_.max_metadata_blocks)};
    }
    Cache::Line& line = cache_->line_of(block);
    if (line.block != block) {
        line.block = UINT64_MAX;
        const iovec out{line.data.data(), kBlockSize};
        TRY(disk_->read(block * kBlockSize, {&out, 1}));
        line.block = block;
        ++blocks_read_;
    }
    return std::span<const std::byte, kBlockSize>(line.data);
}

Status GuestFs::read_data(uint64_t block, std::span<std::byte> out) {
    if (block > geometry_.blocks || out.size() / kBlockSize > geometry_.blocks - block) {
        return Error{ErrorCode::kInvalid, "data outside the disk"};
    }
    const iovec target{out.data(), out.size()};
    return disk_->read(block * kBlockSize, {&target, 1});
}

Result<Inode> GuestFs::inode(uint32_t number) {
    const bool exists = number == kRootInode || number >= kFirstInode;
    if (!exists || number > geometry_.inodes) {
        return corrupt(fmt::format("a name for inode {} of {}", number, geometry_.inodes));
    }
    TRY_ASSIGN(const auto block, metadata(geometry_.block_of(number)));
    Inode inode = decode_inode(number, std::span<const std::byte, kInodeBytes>(block.subspan(
                                           geometry_.offset_of(number), kInodeBytes)));
    if (inode.links == 0 || inode.mode == 0) {
        return corrupt(fmt::format("a name for inode {}, which isn't in use", number));
    }
    return inode;
}

}  // namespace drupe::imagefs::guestfs
