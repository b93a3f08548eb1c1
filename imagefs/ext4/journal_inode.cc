#include "imagefs/ext4/journal_inode.h"

#include <ext2fs/ext2fs.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <span>

namespace drupe::imagefs::ext4 {
namespace {

constexpr size_t kSuperAt = 1024;
constexpr uint32_t kMaxJournalBlocks = 1 << 18;  // 1 GiB
constexpr uint32_t kMaxTreeNodes = 4096;
constexpr uint16_t kMaxTreeDepth = 5;
constexpr uint32_t kKnownIncompat = EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_RECOVER |
                                    EXT3_FEATURE_INCOMPAT_EXTENTS | EXT4_FEATURE_INCOMPAT_64BIT |
                                    EXT4_FEATURE_INCOMPAT_FLEX_BG | EXT4_FEATURE_INCOMPAT_CSUM_SEED;

Error bad(std::string what) {
    return Error{ErrorCode::kCorrupt, "ext4: " + std::move(what)};
}

/// Host and file system are both little-endian.
template <class T>
T load(std::span<const std::byte> from, size_t at) {
    T value;
    std::memcpy(&value, from.data() + at, sizeof value);
    return value;
}

Result<ext2_super_block> read_super(BlockDevice& device, Block& block) {
    TRY(device.read_blocks(0, block));
    const auto super = load<ext2_super_block>(block, kSuperAt);
    if (super.s_magic != EXT2_SUPER_MAGIC) return bad("no superblock");
    const uint32_t incompat = super.s_feature_incompat;
    if ((incompat & ~kKnownIncompat) != 0 || super.s_log_block_size != 2 ||
        super.s_first_data_block != 0) {
        return Error{ErrorCode::kUnsupported,
                     fmt::format("ext4: a file system with incompat features {:#x} and blocks of "
                                 "2^{} KiB; {:#x} and 2^2 are known",
                                 incompat, super.s_log_block_size, kKnownIncompat)};
    }
    return super;
}

/// Follows an extent tree down to where each block of the file lies.
class ExtentTree {
  public:
    ExtentTree(BlockDevice& device, uint64_t disk_blocks, std::vector<uint64_t>& out)
        : device_(device), disk_blocks_(disk_blocks), out_(out) {}

    [[nodiscard]] Status walk(std::span<const std::byte> node, int depth_above) {
        const auto header = load<ext3_extent_header>(node, 0);
        if (header.eh_magic != EXT3_EXT_MAGIC || header.eh_depth > kMaxTreeDepth ||
            (depth_above >= 0 && header.eh_depth != depth_above - 1) ||
            header.eh_entries > node.size() / sizeof(ext3_extent) - 1 || ++nodes_ > kMaxTreeNodes) {
            return bad("the journal's extent tree is damaged");
        }
        for (size_t i = 1; i <= header.eh_entries; ++i) {
            const size_t at = i * sizeof(ext3_extent);
            if (header.eh_depth == 0) {
                TRY(leaf(load<ext3_extent>(node, at)));
                continue;
            }
            const auto index = load<ext3_extent_idx>(node, at);
            const uint64_t lba = uint64_t{index.ei_leaf_hi} << 32 | index.ei_leaf;
            if (lba >= disk_blocks_) return bad("the journal's extent tree leaves the disk");
            Block block{};
            TRY(device_.read_blocks(lba, block));
            TRY(walk(block, header.eh_depth));
        }
        return ok();
    }

  private:
    [[nodiscard]] Status leaf(const ext3_extent& extent) {
        const uint64_t first = uint64_t{extent.ee_start_hi} << 32 | extent.ee_start;
        // What the file system hasn't initialised is marked by the length; the journal writes there
        // all the same only after it is, so there must be none.
        if (extent.ee_len == 0 || extent.ee_len > EXT_INIT_MAX_LEN ||
            extent.ee_block > out_.size() || extent.ee_len > out_.size() - extent.ee_block ||
            first >= disk_blocks_ || extent.ee_len > disk_blocks_ - first) {
            return bad("an extent of the journal is out of range");
        }
        for (uint64_t i = 0; i < extent.ee_len; ++i) out_[extent.ee_block + i] = first + i;
        return ok();
    }

    BlockDevice& device_;
    uint64_t disk_blocks_;
    std::vector<uint64_t>& out_;
    uint32_t nodes_ = 0;
};

}  // namespace

Result<Disk> find_journal(BlockDevice& device) {
    Block block{};
    TRY_ASSIGN(const ext2_super_block super, read_super(device, block));
    Disk disk;
    disk.blocks = uint64_t{super.s_blocks_count_hi} << 32 | super.s_blocks_count;
    disk.needs_replay = (super.s_feature_incompat & EXT3_FEATURE_INCOMPAT_RECOVER) != 0;
    if (!disk.needs_replay) return disk;
    if (disk.blocks > device.block_count()) {
        return bad(fmt::format("a file system of {} blocks on a disk of {}", disk.blocks,
                               device.block_count()));
    }
    const size_t inode_size = super.s_inode_size;
    if (super.s_journal_inum != EXT2_JOURNAL_INO || super.s_inodes_per_group < EXT2_JOURNAL_INO ||
        inode_size < sizeof(ext2_inode) || inode_size > block.size() ||
        block.size() % inode_size != 0) {
        return bad(fmt::format("inodes of {} bytes, the journal in inode {}", inode_size,
                               super.s_journal_inum));
    }
    TRY(device.read_blocks(1, block));
    const auto group = load<ext4_group_desc>(block, 0);
    const bool wide = (super.s_feature_incompat & EXT4_FEATURE_INCOMPAT_64BIT) != 0;
    const uint64_t inode_at = (EXT2_JOURNAL_INO - 1) * inode_size;
    const uint64_t lba = (wide ? uint64_t{group.bg_inode_table_hi} << 32 : 0) +
                         group.bg_inode_table + inode_at / block.size();
    if (lba >= disk.blocks) return bad("the inode table is outside the disk");
    TRY(device.read_blocks(lba, block));
    const auto inode = load<ext2_inode>(block, inode_at % block.size());
    const uint64_t size = uint64_t{inode.i_size_high} << 32 | inode.i_size;
    if ((inode.i_flags & EXT4_EXTENTS_FL) == 0 || size % block.size() != 0 ||
        size / block.size() > kMaxJournalBlocks) {
        return bad(
            fmt::format("the journal is a file of {} bytes with flags {:#x}", size, inode.i_flags));
    }
    disk.journal.resize(size / block.size());
    TRY(ExtentTree(device, disk.blocks, disk.journal)
            .walk(std::as_bytes(std::span(inode.i_block)), -1));
    if (std::find(disk.journal.begin(), disk.journal.end(), 0) != disk.journal.end()) {
        return bad("the journal has holes");
    }
    return disk;
}

Status clear_needs_replay(BlockDevice& device) {
    Block block{};
    TRY_ASSIGN(ext2_super_block super, read_super(device, block));
    super.s_feature_incompat &= ~static_cast<uint32_t>(EXT3_FEATURE_INCOMPAT_RECOVER);
    if ((super.s_feature_ro_compat & EXT4_FEATURE_RO_COMPAT_METADATA_CSUM) != 0) {
        super.s_checksum = ext2fs_crc32c_le(~0U, reinterpret_cast<const unsigned char*>(&super),
                                            offsetof(ext2_super_block, s_checksum));
    }
    std::memcpy(block.data() + kSuperAt, &super, sizeof super);
    return device.write_blocks(0, block);
}

}  // namespace drupe::imagefs::ext4
