#include "imagefs/ext4/filesystem.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "imagefs/ext4/format.h"
#include "imagefs/ext4/io_channel.h"

namespace drupe::imagefs::ext4 {
namespace {

constexpr size_t kBlockSize = BlockDevice::kBlockSize;

constexpr uint32_t kCompatible = EXT3_FEATURE_COMPAT_HAS_JOURNAL | EXT2_FEATURE_COMPAT_EXT_ATTR |
                                 EXT2_FEATURE_COMPAT_RESIZE_INODE | EXT2_FEATURE_COMPAT_DIR_INDEX;
constexpr uint32_t kIncompatible = EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_EXTENTS |
                                   EXT4_FEATURE_INCOMPAT_64BIT | EXT4_FEATURE_INCOMPAT_FLEX_BG |
                                   EXT4_FEATURE_INCOMPAT_CSUM_SEED;
constexpr uint32_t kReadOnlyCompatible =
    EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE |
    EXT4_FEATURE_RO_COMPAT_HUGE_FILE | EXT4_FEATURE_RO_COMPAT_DIR_NLINK |
    EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE | EXT4_FEATURE_RO_COMPAT_METADATA_CSUM;

/// libext2fs trusts what a file system says of itself: only what our formatter makes is opened.
Status check_features(const ext2_super_block& super) {
    if ((super.s_feature_incompat & EXT3_FEATURE_INCOMPAT_RECOVER) != 0) {
        return Error{ErrorCode::kConflict, "the file system's journal was not replayed"};
    }
    const uint32_t unknown = (super.s_feature_compat & ~kCompatible) |
                             (super.s_feature_incompat & ~kIncompatible) |
                             (super.s_feature_ro_compat & ~kReadOnlyCompatible);
    if (unknown != 0 || super.s_log_block_size != 2 || super.s_inode_size != 256 ||
        (super.s_feature_incompat & EXT3_FEATURE_INCOMPAT_EXTENTS) == 0) {
        return Error{ErrorCode::kUnsupported,
                     fmt::format("not an ext4 file system of our format (features {:#x} {:#x} "
                                 "{:#x}, inode size {})",
                                 super.s_feature_compat, super.s_feature_incompat,
                                 super.s_feature_ro_compat, super.s_inode_size)};
    }
    return ok();
}

void load_error_table() {
    static std::once_flag once;
    std::call_once(once, [] { initialize_ext2_error_table(); });
}

ext2_inode* small(Inode& inode) {
    // libext2fs's own convention: a large inode starts with a small one.
    return reinterpret_cast<ext2_inode*>(&inode);
}

/// libext2fs leaves the ids of an ACL's unnamed entries 0 where the kernel says "undefined".
void set_undefined_ids(std::string& acl) {
    constexpr uint16_t kNamed = 2 | 8;  // ACL_USER, ACL_GROUP
    for (size_t at = 4; at + 8 <= acl.size(); at += 8) {
        uint16_t tag = 0;
        std::memcpy(&tag, acl.data() + at, sizeof tag);
        if ((tag & kNamed) == 0) acl.replace(at + 4, 4, 4, '\xff');
    }
}

struct XattrHandle {
    ext2_xattr_handle* handle = nullptr;
    XattrHandle() = default;
    XattrHandle(const XattrHandle&) = delete;
    XattrHandle& operator=(const XattrHandle&) = delete;
    ~XattrHandle() {
        if (handle != nullptr) ext2fs_xattrs_close(&handle);
    }
};

}  // namespace

Status check_ext2(errcode_t code, std::string_view what) {
    if (code == 0) return ok();
    load_error_table();
    Status device = take_device_error();
    if (!device) return std::move(device).error().wrap(what);
    switch (code) {
        case EXT2_ET_BLOCK_ALLOC_FAIL:
        case EXT2_ET_INODE_ALLOC_FAIL:
            return Error{ErrorCode::kLimit, fmt::format("{}: the image's disk is full", what)};
        case EXT2_ET_EA_NO_SPACE:
            return Error{ErrorCode::kLimit,
                         fmt::format("{}: too large for ext4 (about 4000 bytes in all)", what)};
        default:
            return Error{ErrorCode::kCorrupt, fmt::format("{}: {}", what, error_message(code))};
    }
}

void Filesystem::Free::operator()(ext2_filsys fs) const {
    // Only on the way of an error: nothing may be written back.
    fs->flags &= ~(EXT2_FLAG_DIRTY | EXT2_FLAG_CHANGED | EXT2_FLAG_RW);
    ext2fs_free(fs);
    static_cast<void>(take_device_error().has_value());
}

Result<Filesystem> Filesystem::open(BlockDevice& device, Access access) {
    const int flags = EXT2_FLAG_64BITS | (access == Access::kReadWrite ? EXT2_FLAG_RW : 0);
    ext2_filsys raw = nullptr;
    {
        const DeviceForOpen scope(device);
        TRY(check_ext2(ext2fs_open("image", flags, 0, 0, device_io_manager(), &raw),
                       "open the image's file system"));
    }
    Filesystem fs(raw);
    TRY(check_features(*raw->super));
    if (ext2fs_blocks_count(raw->super) > device.block_count()) {
        return Error{ErrorCode::kCorrupt, "the file system is larger than its disk"};
    }
    raw->now = static_cast<time_t>(kFormatTime);
    if (access == Access::kReadWrite) {
        // The backups stay as layer 0 has them, as a kernel would leave them: half a megabyte less
        // in each layer.
        raw->flags |= EXT2_FLAG_MASTER_SB_ONLY;
        TRY(check_ext2(ext2fs_read_bitmaps(raw), "read the image's allocation bitmaps"));
    }
    return fs;
}

Result<Inode> Filesystem::read_inode(ext2_ino_t ino) const {
    Inode inode{};
    TRY(check_ext2(ext2fs_read_inode_full(get(), ino, small(inode), sizeof inode),
                   "read an inode"));
    return inode;
}

Status Filesystem::write_inode(ext2_ino_t ino, Inode inode) const {
    return check_ext2(ext2fs_write_inode_full(get(), ino, small(inode), sizeof inode),
                      "write an inode");
}

Result<ext2_ino_t> Filesystem::allocate_inode(ext2_ino_t parent, uint32_t mode) const {
    ext2_ino_t ino = 0;
    TRY(check_ext2(ext2fs_new_inode(get(), parent, static_cast<int>(mode), nullptr, &ino),
                   "allocate an inode"));
    ext2fs_inode_alloc_stats2(get(), ino, +1, LINUX_S_ISDIR(mode) ? 1 : 0);
    return ino;
}

Status Filesystem::free_inode(ext2_ino_t ino, Inode& inode) const {
    inode.i_dtime = static_cast<uint32_t>(kFormatTime);
    TRY(check_ext2(ext2fs_free_ext_attr(get(), ino, &inode), "free extended attributes"));
    TRY(write_inode(ino, inode));
    if (ext2fs_inode_has_valid_blocks2(get(), small(inode)) != 0) {
        TRY(truncate_blocks(ino, inode, 0));
        TRY(write_inode(ino, inode));
    }
    ext2fs_inode_alloc_stats2(get(), ino, -1, is_directory(inode) ? 1 : 0);
    return ok();
}

Result<std::vector<Extent>> Filesystem::extents(ext2_ino_t ino, Inode& inode) const {
    if ((inode.i_flags & EXT4_EXTENTS_FL) == 0) {
        return Error{ErrorCode::kUnsupported, "a file without extents"};
    }
    ext2_extent_handle_t handle = nullptr;
    TRY(check_ext2(ext2fs_extent_open2(get(), ino, small(inode), &handle), "read a block map"));
    const std::unique_ptr<ext2_extent_handle, void (*)(ext2_extent_handle_t)> owner(
        handle, ext2fs_extent_free);
    std::vector<Extent> extents;
    ext2fs_extent extent{};
    errcode_t code = ext2fs_extent_get(handle, EXT2_EXTENT_ROOT, &extent);
    while (code == 0) {
        if ((extent.e_flags & EXT2_EXTENT_FLAGS_LEAF) != 0) {
            extents.push_back({extent.e_lblk, extent.e_pblk, extent.e_len,
                               (extent.e_flags & EXT2_EXTENT_FLAGS_UNINIT) != 0});
        }
        code = ext2fs_extent_get(handle, EXT2_EXTENT_NEXT, &extent);
        // An interior node is seen again on the way up; leaves aren't.
    }
    if (code != EXT2_ET_EXTENT_NO_NEXT && code != EXT2_ET_NO_CURRENT_NODE) {
        TRY(check_ext2(code, "read a block map"));
    }
    return extents;
}

Status Filesystem::allocate_blocks(ext2_ino_t ino, Inode& inode, uint64_t goal, uint64_t first,
                                   uint64_t count) const {
    return check_ext2(
        ext2fs_fallocate(get(), EXT2_FALLOCATE_FORCE_INIT, ino, small(inode), goal, first, count),
        "allocate blocks");
}

Status Filesystem::truncate_blocks(ext2_ino_t ino, Inode& inode, uint64_t first) const {
    return check_ext2(ext2fs_punch(get(), ino, small(inode), nullptr, first, ~uint64_t{0}),
                      "free blocks");
}

Result<std::vector<Xattr>> Filesystem::xattrs(ext2_ino_t ino) const {
    XattrHandle owner;
    TRY(check_ext2(ext2fs_xattrs_open(get(), ino, &owner.handle), "open extended attributes"));
    TRY(check_ext2(ext2fs_xattrs_read(owner.handle), "read extended attributes"));
    std::vector<Xattr> list;
    const auto add = [](char* name, char* value, size_t size, void* data) {
        static_cast<std::vector<Xattr>*>(data)->push_back({name, std::string(value, size)});
        return 0;
    };
    TRY(check_ext2(ext2fs_xattrs_iterate(owner.handle, add, &list), "read extended attributes"));
    for (Xattr& xattr : list) {
        // Iteration gives ACLs as they lie on the disk; this call, as the kernel shows them.
        if (xattr.name.rfind("system.posix_acl_", 0) != 0) continue;
        void* value = nullptr;
        size_t size = 0;
        TRY(check_ext2(ext2fs_xattr_get(owner.handle, xattr.name.c_str(), &value, &size),
                       "read an ACL"));
        xattr.value.assign(static_cast<const char*>(value), size);
        ext2fs_free_mem(&value);
        set_undefined_ids(xattr.value);
    }
    std::sort(list.begin(), list.end(),
              [](const Xattr& a, const Xattr& b) { return a.name < b.name; });
    return list;
}

Status Filesystem::set_xattrs(ext2_ino_t ino, const std::vector<Xattr>& list) const {
    XattrHandle owner;
    TRY(check_ext2(ext2fs_xattrs_open(get(), ino, &owner.handle), "open extended attributes"));
    TRY(check_ext2(ext2fs_xattrs_read(owner.handle), "read extended attributes"));
    std::vector<std::string> stale;
    const auto add = [](char* name, char*, size_t, void* data) {
        static_cast<std::vector<std::string>*>(data)->emplace_back(name);
        return 0;
    };
    TRY(check_ext2(ext2fs_xattrs_iterate(owner.handle, add, &stale), "read extended attributes"));
    for (const std::string& name : stale) {
        TRY(check_ext2(ext2fs_xattr_remove(owner.handle, name.c_str()), "remove " + name));
    }
    for (const Xattr& xattr : list) {
        TRY(check_ext2(ext2fs_xattr_set(owner.handle, xattr.name.c_str(), xattr.value.data(),
                                        xattr.value.size()),
                       "set " + xattr.name));
    }
    return check_ext2(ext2fs_xattrs_write(owner.handle), "write extended attributes");
}

Result<std::string> Filesystem::read_link(ext2_ino_t ino, Inode& inode) const {
    const uint64_t size = inode_size(inode);
    if (size >= kBlockSize) return Error{ErrorCode::kCorrupt, "a symlink longer than a block"};
    if (ext2fs_is_fast_symlink(small(inode)) != 0) {
        if (size > sizeof inode.i_block) return Error{ErrorCode::kCorrupt, "a symlink too long"};
        return std::string(reinterpret_cast<const char*>(inode.i_block), size);
    }
    TRY_ASSIGN(const std::vector<Extent> map, extents(ino, inode));
    if (map.empty()) return Error{ErrorCode::kCorrupt, "a symlink without content"};
    std::vector<std::byte> block(kBlockSize);
    TRY(read_blocks(map.front().physical, block));
    return std::string(reinterpret_cast<const char*>(block.data()), size);
}

Status Filesystem::read_blocks(uint64_t block, std::span<std::byte> out) const {
    return check_ext2(io_channel_read_blk64(get()->io, block,
                                            static_cast<int>(out.size() / kBlockSize), out.data()),
                      "read the image's disk");
}

Status Filesystem::write_blocks(uint64_t block, std::span<const std::byte> data) const {
    return check_ext2(
        io_channel_write_blk64(get()->io, block, static_cast<int>(data.size() / kBlockSize),
                               data.data()),
        "write the image's disk");
}

Status Filesystem::close() {
    get()->super->s_wtime = static_cast<uint32_t>(kFormatTime);
    ext2_filsys raw = fs_.release();
    const Status status = check_ext2(ext2fs_close_free(&raw), "write back the file system");
    if (!status && raw != nullptr) Free{}(raw);
    return status;
}

}  // namespace drupe::imagefs::ext4
