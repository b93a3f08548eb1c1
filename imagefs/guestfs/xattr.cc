// Extended attributes: in the inode's rest, and in a block of their own (Linux, fs/ext4/xattr.h).

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "base/codec.h"
#include "imagefs/guestfs/bytes.h"
#include "imagefs/guestfs/guest_fs.h"

namespace drupe::imagefs::guestfs {
namespace {

constexpr uint32_t kMagic = 0xEA020000;
constexpr size_t kEntryBytes = 16;
constexpr size_t kBlockHeaderBytes = 32;
constexpr size_t kOldInodeBytes = 128;
constexpr uint16_t kNamed = 2 | 8;  // ACL_USER, ACL_GROUP: only these have an id on the disk
constexpr uint32_t kDiskAclVersion = 1;
constexpr uint32_t kAclVersion = 2;
constexpr uint32_t kUndefinedId = 0xffffffff;

/// By e_name_index; nullptr: none that is known.
constexpr std::array<const char*, 8> kPrefixes{nullptr,
                                               "user.",
                                               "system.posix_acl_access",
                                               "system.posix_acl_default",
                                               "trusted.",
                                               nullptr,
                                               "security.",
                                               "system."};

Error corrupt(const Inode& inode, std::string_view what) {
    return Error{ErrorCode::kCorrupt,
                 fmt::format("the disk's file system: inode {}: {}", inode.number, what)};
}

/// The disk's form of an ACL as the one of the system calls.
Result<std::string> acl_value(const Inode& inode, std::span<const std::byte> disk) {
    if (disk.size() < 4 || u32(disk, 0) != kDiskAclVersion) return corrupt(inode, "a damaged ACL");
    Encoder out;
    out.put(kAclVersion);
    for (size_t at = 4; at < disk.size();) {
        const uint16_t tag = u16(disk, at);
        const bool named = (tag & kNamed) != 0;
        const size_t length = named ? 8 : 4;
        if (length > disk.size() - at) return corrupt(inode, "a damaged ACL");
        out.put(tag);
        out.put(u16(disk, at + 2));
        out.put(named ? u32(disk, at + 4) : kUndefinedId);
        at += length;
    }
    return out.take();
}

/// Entries from the front of `area`; their values' offsets count from the start of `values`.
Status read_list(const Inode& inode, std::span<const std::byte> area,
                 std::span<const std::byte> values, std::vector<ext4::Xattr>& list) {
    for (size_t at = 0; at + 4 <= area.size() && u32(area, at) != 0;) {
        const auto entry = area.subspan(at);
        if (entry.size() < kEntryBytes) return corrupt(inode, "damaged extended attributes");
        const auto name_length = std::to_integer<size_t>(entry[0]);
        const auto prefix = std::to_integer<size_t>(entry[1]);
        const size_t offset = u16(entry, 2);
        const size_t size = u32(entry, 8);
        if (name_length > entry.size() - kEntryBytes || u32(entry, 4) != 0 ||
            offset > values.size() || size > values.size() - offset || prefix >= kPrefixes.size() ||
            kPrefixes[prefix] == nullptr) {
            return corrupt(inode, "damaged extended attributes");
        }
        ext4::Xattr xattr;
        xattr.name = kPrefixes[prefix];
        xattr.name.append(reinterpret_cast<const char*>(entry.data()) + kEntryBytes, name_length);
        if (xattr.name.find('\0') != std::string::npos) {
            return corrupt(inode, "an extended attribute's name with a zero byte");
        }
        const auto value = values.subspan(offset, size);
        if (xattr.name.starts_with("system.posix_acl_")) {
            TRY_ASSIGN(xattr.value, acl_value(inode, value));
        } else {
            xattr.value.assign(reinterpret_cast<const char*>(value.data()), value.size());
        }
        list.push_back(std::move(xattr));
        at += (kEntryBytes + name_length + 3) / 4 * 4;
    }
    return ok();
}

}  // namespace

Result<std::vector<ext4::Xattr>> GuestFs::xattrs(const Inode& inode) {
    std::vector<ext4::Xattr> list;
    const std::span<const std::byte> raw(inode.raw);
    const size_t start = kOldInodeBytes + u16(raw, kOldInodeBytes);
    if (start % 4 == 0 && start + 8 <= raw.size() && u32(raw, start) == kMagic) {
        const auto area = raw.subspan(start + 4);
        TRY(read_list(inode, area, area, list));
    }
    if (inode.xattr_block != 0) {
        TRY_ASSIGN(const auto block, metadata(inode.xattr_block));
        if (u32(block, 0) != kMagic || u32(block, 8) != 1) {
            return corrupt(inode, "a damaged block of extended attributes");
        }
        TRY(read_list(inode, block.subspan(kBlockHeaderBytes), block, list));
    }
    std::sort(list.begin(), list.end(),
              [](const ext4::Xattr& a, const ext4::Xattr& b) { return a.name < b.name; });
    const auto twice = std::adjacent_find(
        list.begin(), list.end(),
        [](const ext4::Xattr& a, const ext4::Xattr& b) { return a.name == b.name; });
    if (twice != list.end()) return corrupt(inode, "an extended attribute twice");
    return list;
}

}  // namespace drupe::imagefs::guestfs
