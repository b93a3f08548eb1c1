// What an inode's block map leads to: extents, directories, long symlinks.

#include <fmt/core.h>

#include <algorithm>

#include "imagefs/guestfs/bytes.h"
#include "imagefs/guestfs/guest_fs.h"

namespace drupe::imagefs::guestfs {
namespace {

constexpr size_t kBlockMap = 40;  // i_block
constexpr size_t kBlockMapBytes = 60;
constexpr uint32_t kUsesExtents = 0x80000;
/// Encrypted, verity, EA inode, inline data, casefolded: none is in the features allowed.
constexpr uint32_t kForeignFlags = 0x800 | 0x100000 | 0x200000 | 0x10000000 | 0x40000000;

// struct ext4_extent_header, ext4_extent_idx, ext4_extent (Linux, fs/ext4/ext4_extents.h).
constexpr uint16_t kExtentMagic = 0xF30A;
constexpr size_t kExtentEntryBytes = 12;
constexpr uint16_t kMaxDepth = 5;
constexpr uint32_t kMaxWritten = 32768;

// struct ext4_dir_entry_2
constexpr size_t kNameAt = 8;

Error corrupt(const Inode& inode, std::string_view what) {
    return Error{ErrorCode::kCorrupt,
                 fmt::format("the disk's file system: inode {}: {}", inode.number, what)};
}

/// Collects an inode's extents. The order of logical blocks, which is enforced, and no empty nodes
/// bound how many nodes there are, whatever they point at.
class ExtentWalk {
  public:
    ExtentWalk(GuestFs& fs, const Inode& inode, uint64_t max) : fs_(fs), inode_(inode), max_(max) {}

    Status node(std::span<const std::byte> bytes, uint16_t expected_depth, bool root) {
        const uint16_t entries = u16(bytes, 2);
        const uint16_t depth = u16(bytes, 6);
        const size_t room = bytes.size() / kExtentEntryBytes - 1;
        if (u16(bytes, 0) != kExtentMagic || entries > room ||
            (root ? depth > kMaxDepth : depth != expected_depth || entries == 0)) {
            return corrupt(inode_, "a damaged node of its block map");
        }
        for (size_t i = 1; i <= entries; ++i) {
            const auto entry = bytes.subspan(i * kExtentEntryBytes, kExtentEntryBytes);
            if (depth == 0) {
                TRY(leaf(entry));
            } else {
                const uint64_t child = uint64_t{u16(entry, 8)} << 32 | u32(entry, 4);
                TRY_ASSIGN(const auto block, fs_.metadata(child));
                // A copy: the cache's block may be replaced further down.
                const std::vector<std::byte> copy(block.begin(), block.end());
                TRY(node(copy, static_cast<uint16_t>(depth - 1), false));
            }
        }
        return ok();
    }

    std::vector<Extent> take() { return std::move(extents_); }

  private:
    Status leaf(std::span<const std::byte> entry) {
        Extent extent;
        const uint32_t length = u16(entry, 4);
        extent.logical = u32(entry, 0);
        extent.physical = uint64_t{u16(entry, 6)} << 32 | u32(entry, 8);
        extent.unwritten = length > kMaxWritten;
        extent.count = extent.unwritten ? length - kMaxWritten : length;
        const uint64_t blocks = fs_.geometry().blocks;
        if (extent.count == 0 || extent.logical < next_ || extent.physical > blocks ||
            extent.count > blocks - extent.physical) {
            return corrupt(inode_, "a damaged extent");
        }
        next_ = extent.logical + extent.count;
        if (extents_.size() >= max_) {
            return Error{ErrorCode::kLimit, fmt::format("the disk's file system: inode {} has more "
                                                        "than {} extents",
                                                        inode_.number, max_)};
        }
        // What lies past the end (preallocated) is nobody's content.
        const uint64_t end = (inode_.size + kBlockSize - 1) / kBlockSize;
        if (extent.logical >= end) return ok();
        extent.count = std::min(extent.count, end - extent.logical);
        extents_.push_back(extent);
        return ok();
    }

    GuestFs& fs_;
    const Inode& inode_;
    uint64_t max_;
    uint64_t next_ = 0;
    std::vector<Extent> extents_;
};

Status add_names(const Inode& inode, std::span<const std::byte> block, Directory& directory) {
    for (size_t at = 0; at < block.size();) {
        const auto rest = block.subspan(at);
        const uint32_t target = u32(rest, 0);
        size_t length = u16(rest, 4);
        const size_t name_length = rest.size() > 6 ? std::to_integer<size_t>(rest[6]) : 0;
        if (length == 0xFFFF) length = block.size();  // how 65536 would be written
        if (length < kNameAt || length % 4 != 0 || length > rest.size() ||
            name_length > length - kNameAt) {
            return corrupt(inode, "a damaged directory block");
        }
        at += length;
        if (target == 0) continue;  // free space, a node of the hash tree, the checksum
        const std::string_view name(reinterpret_cast<const char*>(rest.data()) + kNameAt,
                                    name_length);
        if (name == "..") directory.parent = target;
        if (name == "." || name == "..") continue;
        if (name.empty() || name.find('/') != name.npos || name.find('\0') != name.npos) {
            return corrupt(inode, "a name that can't be one in a directory");
        }
        directory.names.push_back({std::string(name), target});
    }
    return ok();
}

}  // namespace

Result<std::vector<Extent>> GuestFs::extents(const Inode& inode) {
    if ((inode.flags & kForeignFlags) != 0 || (inode.flags & kUsesExtents) == 0) {
        return Error{ErrorCode::kUnsupported,
                     fmt::format("the disk's file system: inode {} keeps its data in a way that "
                                 "isn't supported (flags {:#x})",
                                 inode.number, inode.flags)};
    }
    ExtentWalk walk(*this, inode, limits_.max_extents);
    const std::span<const std::byte> raw(inode.raw);
    TRY(walk.node(raw.subspan(kBlockMap, kBlockMapBytes), 0, true));
    return walk.take();
}

Result<Directory> GuestFs::directory(const Inode& inode) {
    if (!inode.is_directory()) return corrupt(inode, "used as a directory, which it isn't");
    if (inode.size > limits_.max_directory_bytes) {
        return Error{ErrorCode::kLimit,
                     fmt::format("the disk's file system: directory {} has {} bytes", inode.number,
                                 inode.size)};
    }
    TRY_ASSIGN(const std::vector<Extent> map, extents(inode));
    Directory directory;
    uint64_t next = 0;
    for (const Extent& extent : map) {
        if (extent.logical != next || extent.unwritten)
            return corrupt(inode, "a hole in a directory");
        next += extent.count;
        for (uint64_t i = 0; i < extent.count; ++i) {
            TRY_ASSIGN(const auto block, metadata(extent.physical + i));
            TRY(add_names(inode, block, directory));
        }
    }
    if (next * kBlockSize != inode.size || next == 0) {
        return corrupt(inode, "a directory with a wrong size");
    }
    std::sort(directory.names.begin(), directory.names.end(),
              [](const Name& a, const Name& b) { return a.name < b.name; });
    const auto twice =
        std::adjacent_find(directory.names.begin(), directory.names.end(),
                           [](const Name& a, const Name& b) { return a.name == b.name; });
    if (twice != directory.names.end()) return corrupt(inode, "a name twice in a directory");
    return directory;
}

Result<std::string> GuestFs::read_link(const Inode& inode) {
    if (inode.size == 0 || inode.size >= kBlockSize) {
        return corrupt(inode, "a symlink of impossible length");
    }
    const auto text = [&](std::span<const std::byte> bytes) -> Result<std::string> {
        std::string target(reinterpret_cast<const char*>(bytes.data()), inode.size);
        if (target.find('\0') != target.npos) return corrupt(inode, "a symlink with a zero byte");
        return target;
    };
    if (inode.size < kBlockMapBytes) return text(std::span(inode.raw).subspan(kBlockMap));
    TRY_ASSIGN(const std::vector<Extent> map, extents(inode));
    if (map.empty() || map.front().logical != 0 || map.front().unwritten) {
        return corrupt(inode, "a symlink without content");
    }
    TRY_ASSIGN(const auto block, metadata(map.front().physical));
    return text(block);
}

}  // namespace drupe::imagefs::guestfs
