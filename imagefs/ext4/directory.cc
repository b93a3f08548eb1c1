#include "imagefs/ext4/directory.h"

#include <algorithm>
#include <cstring>

#include "imagefs/ext4/htree.h"

namespace drupe::imagefs::ext4 {
namespace {

constexpr size_t kBlockSize = BlockDevice::kBlockSize;
constexpr uint64_t kMaxLinks = 65000;  // EXT4_LINK_MAX; a directory with more shows 1 (dir_nlink).

int add_entry(ext2_ino_t, int kind, ext2_dir_entry* raw, int, int, char*, void* data) {
    auto& directory = *static_cast<Directory*>(data);
    if (kind == DIRENT_DOT_DOT_FILE) directory.parent = raw->inode;
    if (kind == DIRENT_OTHER_FILE) {
        directory.entries.insert_or_assign(
            std::string(raw->name, static_cast<size_t>(ext2fs_dirent_name_len(raw))),
            DirectoryEntry{raw->inode, static_cast<uint8_t>(ext2fs_dirent_file_type(raw))});
    }
    return 0;
}

/// Makes the directory have exactly `count` blocks; gives their places in logical order.
Result<std::vector<uint64_t>> resize(const Filesystem& fs, const Directory& directory, Inode& inode,
                                     uint64_t count) {
    const uint64_t have = inode_size(inode) / kBlockSize;
    if (count > have) {
        TRY(fs.allocate_blocks(directory.ino, inode, 0, have, count - have));
    } else if (count < have) {
        TRY(fs.truncate_blocks(directory.ino, inode, count));
    }
    TRY_ASSIGN(const std::vector<Extent> map, fs.extents(directory.ino, inode));
    std::vector<uint64_t> places;
    for (const Extent& extent : map) {
        for (uint64_t i = 0; i < extent.count && !extent.unwritten; ++i) {
            if (extent.logical + i == places.size()) places.push_back(extent.physical + i);
        }
    }
    if (places.size() != count) {
        return Error{ErrorCode::kCorrupt, "a directory's block map has holes"};
    }
    return places;
}

}  // namespace

Result<Directory> load_directory(const Filesystem& fs, ext2_ino_t ino) {
    Directory directory;
    directory.ino = ino;
    TRY(check_ext2(ext2fs_dir_iterate2(fs.get(), ino, 0, nullptr, add_entry, &directory),
                   "read a directory"));
    if (directory.parent == 0) return Error{ErrorCode::kCorrupt, "a directory without '..'"};
    return directory;
}

Status save_directory(const Filesystem& fs, const Directory& directory) {
    TRY_ASSIGN(DirectoryImage image, lay_out_directory(*fs.get()->super, directory));
    TRY_ASSIGN(Inode inode, fs.read_inode(directory.ino));
    TRY_ASSIGN(const std::vector<uint64_t> places,
               resize(fs, directory, inode, image.blocks.size()));

    const auto children = static_cast<uint64_t>(
        std::count_if(directory.entries.begin(), directory.entries.end(),
                      [](const auto& entry) { return entry.second.type == EXT2_FT_DIR; }));
    inode.i_links_count = static_cast<uint16_t>(children + 2 > kMaxLinks ? 1 : children + 2);
    const uint64_t size = image.blocks.size() * kBlockSize;
    inode.i_size = static_cast<uint32_t>(size);
    inode.i_size_high = static_cast<uint32_t>(size >> 32);
    inode.i_flags &= ~static_cast<uint32_t>(EXT2_INDEX_FL);
    if (image.indexed) inode.i_flags |= EXT2_INDEX_FL;
    TRY(fs.write_inode(directory.ino, inode));

    for (size_t i = 0; i < places.size(); ++i) {
        // Also puts the checksum in, which covers the inode's number and generation.
        TRY(check_ext2(
            ext2fs_write_dir_block4(fs.get(), places[i], image.blocks[i].data(), 0, directory.ino),
            "write a directory"));
    }
    return ok();
}

}  // namespace drupe::imagefs::ext4
