#include "imagefs/ext4/format.h"

#include <cstring>

#include "imagefs/ext4/filesystem.h"
#include "imagefs/ext4/io_channel.h"

namespace drupe::imagefs::ext4 {
namespace {

constexpr uint32_t kBytesPerInode = 16384;
/// 32 MiB: its blocks stay holes until used, but a busy writer goes round all of it, so that this
/// is what a container's top can cost on the host's disk.
constexpr uint32_t kJournalBlocks = 8192;
/// Room for group descriptors of 1 TiB (online growth), not the usual 1024-fold: each is a block
/// that has to be stored.
constexpr uint32_t kReservedDescriptorBlocks = 120;

void set_features(ext2_super_block& super) {
    super.s_feature_compat = EXT2_FEATURE_COMPAT_EXT_ATTR | EXT2_FEATURE_COMPAT_RESIZE_INODE |
                             EXT2_FEATURE_COMPAT_DIR_INDEX;
    super.s_feature_incompat = EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_EXTENTS |
                               EXT4_FEATURE_INCOMPAT_64BIT | EXT4_FEATURE_INCOMPAT_FLEX_BG |
                               EXT4_FEATURE_INCOMPAT_CSUM_SEED;
    super.s_feature_ro_compat =
        EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE |
        EXT4_FEATURE_RO_COMPAT_HUGE_FILE | EXT4_FEATURE_RO_COMPAT_DIR_NLINK |
        EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE | EXT4_FEATURE_RO_COMPAT_METADATA_CSUM;
}

void set_identity(ext2_filsys fs) {
    ext2_super_block& super = *fs->super;
    for (size_t i = 0; i < sizeof super.s_uuid; ++i) {
        super.s_uuid[i] = static_cast<uint8_t>(0xD0 + i);
    }
    super.s_uuid[6] = 0x40;  // Version 4, so that tools show it as an ordinary one.
    super.s_uuid[8] = 0x80;
    std::memcpy(super.s_hash_seed, super.s_uuid, sizeof super.s_hash_seed);
    super.s_def_hash_version = EXT2_HASH_HALF_MD4;
    super.s_flags = EXT2_FLAGS_UNSIGNED_HASH;  // The same on x86 and arm.
    super.s_checksum_type = EXT2_CRC32C_CHKSUM;
    super.s_checksum_seed = ext2fs_crc32c_le(~0U, super.s_uuid, sizeof super.s_uuid);
    ext2fs_init_csum_seed(fs);
    super.s_max_mnt_count = -1;
    super.s_checkinterval = 0;
    super.s_min_extra_isize = super.s_want_extra_isize = 32;
    super.s_mkfs_time = super.s_wtime = super.s_lastcheck = static_cast<uint32_t>(kFormatTime);
    super.s_kbytes_written = 1;
    super.s_default_mount_opts = EXT2_DEFM_XATTR_USER | EXT2_DEFM_ACL;
}

/// The device reads as zeroes, so inode tables are zeroed already: a kernel has nothing to do after
/// mount.
void mark_inode_tables_zeroed(ext2_filsys fs) {
    for (dgrp_t group = 0; group < fs->group_desc_count; ++group) {
        ext2fs_bg_flags_set(fs, group, EXT2_BG_INODE_ZEROED);
        ext2fs_group_desc_csum_set(fs, group);
    }
}

void reserve_inodes(ext2_filsys fs) {
    ext2fs_inode_alloc_stats2(fs, EXT2_BAD_INO, +1, 0);
    for (ext2_ino_t ino = EXT2_ROOT_INO + 1; ino < EXT2_FIRST_INODE(fs->super); ++ino) {
        ext2fs_inode_alloc_stats2(fs, ino, +1, 0);
    }
}

/// Blocks that can't hold a file's data, counted as Linux does (ext4_calculate_overhead): a kernel
/// that finds another number at its first mount writes the right one into all copies of the
/// superblock, a block of the container's disk each.
uint32_t overhead_blocks(ext2_filsys fs) {
    constexpr uint32_t kBitmaps = 2;
    uint64_t blocks = fs->super->s_first_data_block + kJournalBlocks;
    for (dgrp_t group = 0; group < fs->group_desc_count; ++group) {
        blocks += fs->inode_blocks_per_group + kBitmaps;
        if (ext2fs_bg_has_super(fs, group) != 0) {
            blocks += 1 + fs->desc_blocks + fs->super->s_reserved_gdt_blocks;
        }
    }
    return static_cast<uint32_t>(blocks);
}

}  // namespace

Status format_layer0(BlockDevice& device) {
    ext2_super_block parameters{};
    set_features(parameters);
    parameters.s_rev_level = 1;
    parameters.s_log_block_size = parameters.s_log_cluster_size = 2;
    ext2fs_blocks_count_set(&parameters, device.block_count());
    parameters.s_inode_size = 256;
    parameters.s_desc_size = 64;
    parameters.s_log_groups_per_flex = 4;
    parameters.s_inodes_count =
        static_cast<uint32_t>(device.block_count() * BlockDevice::kBlockSize / kBytesPerInode);
    parameters.s_reserved_gdt_blocks = kReservedDescriptorBlocks;
    parameters.s_checksum_type = EXT2_CRC32C_CHKSUM;

    ext2_filsys raw = nullptr;
    {
        const DeviceForOpen scope(device);
        TRY(check_ext2(
            ext2fs_initialize("image", EXT2_FLAG_64BITS, &parameters, device_io_manager(), &raw),
            "make a file system"));
    }
    Filesystem fs(raw);
    raw->now = static_cast<time_t>(kFormatTime);
    raw->umask = 022;
    set_identity(raw);
    TRY(check_ext2(ext2fs_allocate_tables(raw), "place the group tables"));
    mark_inode_tables_zeroed(raw);
    TRY(check_ext2(ext2fs_mkdir(raw, EXT2_ROOT_INO, EXT2_ROOT_INO, nullptr), "make /"));
    reserve_inodes(raw);
    TRY(check_ext2(ext2fs_create_resize_inode(raw), "make the resize inode"));
    TRY(check_ext2(ext2fs_add_journal_inode2(raw, kJournalBlocks, ~uint64_t{0},
                                             EXT2_MKJOURNAL_LAZYINIT | EXT2_MKJOURNAL_NO_MNT_CHECK),
                   "make the journal"));
    raw->super->s_overhead_clusters = overhead_blocks(raw);
    ext2fs_mark_super_dirty(raw);
    ext2fs_mark_ib_dirty(raw);
    ext2fs_mark_bb_dirty(raw);
    return fs.close();
}

}  // namespace drupe::imagefs::ext4
