#include "imagefs/ext4/inode.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

namespace drupe::imagefs::ext4 {
namespace {

constexpr int64_t kMinTime = -(int64_t{1} << 31);
constexpr int64_t kMaxTime = (int64_t{1} << 34) - (int64_t{1} << 31) - 1;

struct DiskTime {
    uint32_t seconds = 0;
    uint32_t extra = 0;  // Two bits of epoch, thirty of nanoseconds.
};

DiskTime encode_time(int64_t seconds, uint32_t nanoseconds) {
    seconds = std::clamp(seconds, kMinTime, kMaxTime);
    const auto low = static_cast<int32_t>(seconds);
    const auto epoch = static_cast<uint32_t>((seconds - low) >> 32) & 3;
    return {static_cast<uint32_t>(low), epoch | std::min(nanoseconds, 999'999'999U) << 2};
}

bool starts_with(std::string_view text, std::string_view prefix) {
    return text.substr(0, prefix.size()) == prefix;
}

/// linux/posix_acl_xattr.h: version 2, then entries of tag, permissions and id.
Status check_acl(std::string_view value) {
    constexpr uint16_t kUserObject = 1;
    constexpr uint16_t kUser = 2;
    constexpr uint16_t kGroupObject = 4;
    constexpr uint16_t kGroup = 8;
    constexpr uint16_t kMask = 16;
    constexpr uint16_t kOther = 32;
    const Error bad{ErrorCode::kInvalid, "a malformed POSIX ACL"};
    uint32_t version = 0;
    if (value.size() < 4 || (value.size() - 4) % 8 != 0) return bad;
    std::memcpy(&version, value.data(), sizeof version);
    if (version != 2) return bad;
    uint16_t previous = 0;
    uint32_t seen = 0;
    for (size_t at = 4; at < value.size(); at += 8) {
        uint16_t tag = 0;
        uint16_t permissions = 0;
        std::memcpy(&tag, value.data() + at, sizeof tag);
        std::memcpy(&permissions, value.data() + at + 2, sizeof permissions);
        const bool named = tag == kUser || tag == kGroup;
        const bool known =
            named || tag == kUserObject || tag == kGroupObject || tag == kMask || tag == kOther;
        if (!known || permissions > 7 || tag < previous || (tag == previous && !named)) return bad;
        previous = tag;
        seen |= tag;
    }
    const uint32_t needed = kUserObject | kGroupObject | kOther;
    const bool needs_mask = (seen & (kUser | kGroup)) != 0;
    if ((seen & needed) != needed || (needs_mask && (seen & kMask) == 0)) return bad;
    return ok();
}

/// What ext4 and the kernel let such a file have; the others are left out, as Docker does.
bool keeps(const Entry& entry, std::string_view name) {
    const bool file_or_directory =
        entry.type == EntryType::kFile || entry.type == EntryType::kDirectory;
    if (starts_with(name, "security.") || starts_with(name, "trusted.")) return true;
    if (starts_with(name, "user.")) return file_or_directory;
    if (name == "system.posix_acl_access") return entry.type != EntryType::kSymlink;
    if (name == "system.posix_acl_default") return entry.type == EntryType::kDirectory;
    return false;
}

}  // namespace

void set_metadata(Inode& inode, const Entry& entry) {
    inode.i_mode = static_cast<uint16_t>((inode.i_mode & LINUX_S_IFMT) | (entry.mode & 07777));
    inode.i_uid = static_cast<uint16_t>(entry.uid);
    inode.osd2.linux2.l_i_uid_high = static_cast<uint16_t>(entry.uid >> 16);
    inode.i_gid = static_cast<uint16_t>(entry.gid);
    inode.osd2.linux2.l_i_gid_high = static_cast<uint16_t>(entry.gid >> 16);
    const DiskTime time = encode_time(entry.mtime, entry.mtime_ns);
    inode.i_extra_isize = 32;
    inode.i_mtime = inode.i_ctime = inode.i_atime = inode.i_crtime = time.seconds;
    inode.i_mtime_extra = inode.i_ctime_extra = inode.i_atime_extra = inode.i_crtime_extra =
        time.extra;
}

Inode make_inode_without_blocks(uint16_t type, const Entry& entry) {
    Inode inode{};
    inode.i_mode = type;
    inode.i_links_count = 1;
    set_metadata(inode, entry);
    return inode;
}

Inode make_inode(uint16_t type, const Entry& entry) {
    Inode inode = make_inode_without_blocks(type, entry);
    inode.i_flags = EXT4_EXTENTS_FL;
    const ext3_extent_header header{.eh_magic = EXT3_EXT_MAGIC,
                                    .eh_entries = 0,
                                    .eh_max = 4,
                                    .eh_depth = 0,
                                    .eh_generation = 0};
    std::memcpy(inode.i_block, &header, sizeof header);
    return inode;
}

Status set_device(Inode& inode, uint32_t major, uint32_t minor) {
    if (major >= 1U << 12 || minor >= 1U << 20) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("device number {}:{} is out of range", major, minor)};
    }
    if (major < 256 && minor < 256) {
        inode.i_block[0] = major << 8 | minor;
    } else {
        inode.i_block[1] = (minor & 0xff) | major << 8 | (minor & ~0xffU) << 12;
    }
    return ok();
}

Result<std::vector<Xattr>> accepted_xattrs(const Entry& entry, const ApplyLimits& limits) {
    std::vector<Xattr> list;
    size_t bytes = 0;
    if (entry.xattrs.size() > limits.max_xattrs) {
        return Error{ErrorCode::kLimit,
                     fmt::format("{} extended attributes, at most {} are allowed",
                                 entry.xattrs.size(), limits.max_xattrs)};
    }
    for (const Xattr& xattr : entry.xattrs) {
        bytes += xattr.name.size() + xattr.value.size();
        if (bytes > limits.max_xattr_bytes) {
            return Error{ErrorCode::kLimit, "its extended attributes are too large"};
        }
        if (!keeps(entry, xattr.name)) continue;
        const size_t prefix = xattr.name.find('.') + 1;
        if (xattr.name.size() == prefix || xattr.name.size() > 255) {
            return Error{ErrorCode::kInvalid, "an extended attribute's name is empty or too long"};
        }
        if (starts_with(xattr.name, "system.")) {
            TRY(check_acl(xattr.value));
        }
        list.push_back(xattr);
    }
    std::stable_sort(list.begin(), list.end(),
                     [](const Xattr& a, const Xattr& b) { return a.name < b.name; });
    // Of two with one name the later one counts.
    const auto first = std::unique(list.rbegin(), list.rend(),
                                   [](const Xattr& a, const Xattr& b) { return a.name == b.name; });
    list.erase(list.begin(), first.base());
    return list;
}

}  // namespace drupe::imagefs::ext4
