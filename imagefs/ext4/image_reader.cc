#include "imagefs/ext4/image_reader.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "imagefs/ext4/filesystem.h"
#include "imagefs/ext4/layer_applier.h"
#include "imagefs/ext4/tree.h"

namespace drupe::imagefs::ext4 {
namespace {

constexpr size_t kBlockSize = BlockDevice::kBlockSize;

int64_t decode_seconds(uint32_t low, uint32_t extra) {
    return int64_t{static_cast<int32_t>(low)} + (int64_t{extra & 3} << 32);
}

EntryType type_of(const Inode& inode) {
    switch (inode.i_mode & LINUX_S_IFMT) {
        case LINUX_S_IFDIR:
            return EntryType::kDirectory;
        case LINUX_S_IFLNK:
            return EntryType::kSymlink;
        case LINUX_S_IFCHR:
            return EntryType::kCharDevice;
        case LINUX_S_IFBLK:
            return EntryType::kBlockDevice;
        case LINUX_S_IFIFO:
            return EntryType::kFifo;
        default:
            return EntryType::kFile;
    }
}

void decode_device(const Inode& inode, Entry& entry) {
    if (inode.i_block[0] != 0) {
        entry.device_major = inode.i_block[0] >> 8 & 0xff;
        entry.device_minor = inode.i_block[0] & 0xff;
    } else {
        entry.device_major = inode.i_block[1] >> 8 & 0xfff;
        entry.device_minor = (inode.i_block[1] & 0xff) | (inode.i_block[1] >> 12 & 0xfff00);
    }
}

}  // namespace

class ImageReader::State {
  public:
    explicit State(Filesystem fs) : fs_(std::move(fs)), tree_(fs_, limits_) {}

    Result<ext2_ino_t> find(std::string_view path) {
        TRY_ASSIGN(const std::vector<std::string> components, tree_.split(path));
        if (components.empty()) return ext2_ino_t{EXT2_ROOT_INO};
        const Error missing{ErrorCode::kNotFound,
                            fmt::format("{} is not in the image", printable_path(path))};
        TRY_ASSIGN(const auto parent, tree_.parent_of(components, Tree::Missing::kGiveUp));
        if (!parent) return missing;
        TRY_ASSIGN(const auto entry, tree_.find(*parent, components.back()));
        if (!entry) return missing;
        return entry->ino;
    }

    Result<Info> stat(std::string_view path) {
        TRY_ASSIGN(const ext2_ino_t ino, find(path));
        TRY_ASSIGN(Inode inode, fs_.read_inode(ino));
        Info info;
        info.inode = ino;
        info.links = inode.i_links_count;
        Entry& entry = info.entry;
        entry.type = type_of(inode);
        entry.mode = inode.i_mode & 07777;
        entry.uid = uint32_t{inode.osd2.linux2.l_i_uid_high} << 16 | inode.i_uid;
        entry.gid = uint32_t{inode.osd2.linux2.l_i_gid_high} << 16 | inode.i_gid;
        entry.mtime = decode_seconds(inode.i_mtime, inode.i_mtime_extra);
        entry.mtime_ns = inode.i_mtime_extra >> 2;
        if (entry.type == EntryType::kFile) entry.size = inode_size(inode);
        if (entry.type == EntryType::kSymlink) {
            TRY_ASSIGN(entry.target, fs_.read_link(ino, inode));
        }
        if (entry.type == EntryType::kCharDevice || entry.type == EntryType::kBlockDevice) {
            decode_device(inode, entry);
        }
        TRY_ASSIGN(entry.xattrs, fs_.xattrs(ino));
        return info;
    }

    Result<std::string> read_file(std::string_view path, size_t max_bytes) {
        TRY_ASSIGN(const ext2_ino_t ino, find(path));
        TRY_ASSIGN(Inode inode, fs_.read_inode(ino));
        const uint64_t size = inode_size(inode);
        if (!is_regular(inode) || size > max_bytes) {
            return Error{is_regular(inode) ? ErrorCode::kLimit : ErrorCode::kInvalid,
                         fmt::format("{} is not a file of at most {} bytes", printable_path(path),
                                     max_bytes)};
        }
        std::string content(size, '\0');
        TRY_ASSIGN(const std::vector<Extent> map, fs_.extents(ino, inode));
        std::vector<std::byte> block(kBlockSize);
        for (const Extent& extent : map) {
            for (uint64_t i = 0; i < extent.count && !extent.unwritten; ++i) {
                const uint64_t at = (extent.logical + i) * kBlockSize;
                if (at >= size) break;
                TRY(fs_.read_blocks(extent.physical + i, block));
                std::memcpy(content.data() + at, block.data(),
                            std::min<uint64_t>(kBlockSize, size - at));
            }
        }
        return content;
    }

    Result<std::vector<std::string>> list(std::string_view path) {
        TRY_ASSIGN(const ext2_ino_t ino, find(path));
        TRY_ASSIGN(const Inode inode, fs_.read_inode(ino));
        if (!is_directory(inode)) {
            return Error{ErrorCode::kInvalid,
                         fmt::format("{} is not a directory", printable_path(path))};
        }
        TRY_ASSIGN(const Directory directory, load_directory(fs_, ino));
        std::vector<std::string> names;
        for (const auto& [name, entry] : directory.entries) names.push_back(name);
        return names;
    }

  private:
    const ApplyLimits limits_;
    Filesystem fs_;
    Tree tree_;
};

ImageReader::ImageReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
ImageReader::ImageReader(ImageReader&&) noexcept = default;
ImageReader& ImageReader::operator=(ImageReader&&) noexcept = default;
ImageReader::~ImageReader() = default;

Result<ImageReader> ImageReader::open(BlockDevice& device) {
    TRY_ASSIGN(Filesystem fs, Filesystem::open(device, Filesystem::Access::kReadOnly));
    return ImageReader(std::make_unique<State>(std::move(fs)));
}

Result<ImageReader::Info> ImageReader::stat(std::string_view path) {
    return state_->stat(path);
}
Result<std::string> ImageReader::read_file(std::string_view path, size_t max_bytes) {
    return state_->read_file(path, max_bytes);
}
Result<std::vector<std::string>> ImageReader::list(std::string_view path) {
    return state_->list(path);
}

}  // namespace drupe::imagefs::ext4
