#include <sys/stat.h>

#include <algorithm>
#include <optional>

#include "imagefs/guestfs/bytes.h"
#include "imagefs/guestfs/guest_fs.h"

namespace drupe::imagefs::guestfs {
namespace {

// struct ext4_inode (Linux, fs/ext4/ext4.h).
constexpr size_t kExtraStart = 128;
constexpr size_t kBlockMap = 40;

/// The fields of the extra part that an inode's own i_extra_isize covers; 0 for the others.
uint32_t extra(std::span<const std::byte> raw, size_t at) {
    const size_t end = kExtraStart + u16(raw, kExtraStart);
    return at + sizeof(uint32_t) <= end ? u32(raw, at) : 0;
}

Time time_of(std::span<const std::byte> raw, size_t seconds_at, size_t extra_at) {
    const uint32_t more = extra(raw, extra_at);
    Time time;
    time.seconds = int64_t{static_cast<int32_t>(u32(raw, seconds_at))} + (int64_t{more & 3} << 32);
    time.nanoseconds = std::min<uint32_t>(more >> 2, 999'999'999);
    return time;
}

std::optional<ext4::EntryType> type_of(uint16_t mode) {
    switch (mode & S_IFMT) {
        case S_IFREG:
            return ext4::EntryType::kFile;
        case S_IFDIR:
            return ext4::EntryType::kDirectory;
        case S_IFLNK:
            return ext4::EntryType::kSymlink;
        case S_IFCHR:
            return ext4::EntryType::kCharDevice;
        case S_IFBLK:
            return ext4::EntryType::kBlockDevice;
        case S_IFIFO:
            return ext4::EntryType::kFifo;
        default:
            return std::nullopt;
    }
}

void decode_device(const Inode& inode, ext4::Entry& entry) {
    const uint32_t old_form = u32(inode.raw, kBlockMap);
    const uint32_t new_form = u32(inode.raw, kBlockMap + 4);
    if (old_form != 0) {
        entry.device_major = old_form >> 8 & 0xff;
        entry.device_minor = old_form & 0xff;
    } else {
        entry.device_major = new_form >> 8 & 0xfff;
        entry.device_minor = (new_form & 0xff) | (new_form >> 12 & 0xfff00);
    }
}

}  // namespace

bool Inode::is_directory() const {
    return S_ISDIR(mode);
}
bool Inode::is_regular() const {
    return S_ISREG(mode);
}
bool Inode::is_symlink() const {
    return S_ISLNK(mode);
}

Inode decode_inode(uint32_t number, std::span<const std::byte, kInodeBytes> raw) {
    Inode inode;
    inode.number = number;
    std::copy(raw.begin(), raw.end(), inode.raw.begin());
    inode.mode = u16(raw, 0);
    inode.uid = uint32_t{u16(raw, 120)} << 16 | u16(raw, 2);
    inode.gid = uint32_t{u16(raw, 122)} << 16 | u16(raw, 24);
    inode.links = u16(raw, 26);
    inode.flags = u32(raw, 32);
    inode.size = uint64_t{u32(raw, 108)} << 32 | u32(raw, 4);
    inode.generation = u32(raw, 100);
    inode.mtime = time_of(raw, 16, 136);
    inode.ctime = time_of(raw, 12, 132);
    inode.crtime = time_of(raw, 144, 148);
    inode.xattr_block = uint64_t{u16(raw, 118)} << 32 | u32(raw, 104);
    return inode;
}

std::optional<ext4::Entry> describe(const Inode& inode) {
    const auto type = type_of(inode.mode);
    if (!type) return std::nullopt;
    ext4::Entry entry;
    entry.type = *type;
    entry.mode = inode.mode & 07777;
    entry.uid = inode.uid;
    entry.gid = inode.gid;
    entry.mtime = inode.mtime.seconds;
    entry.mtime_ns = inode.mtime.nanoseconds;
    if (entry.type == ext4::EntryType::kFile) entry.size = inode.size;
    if (entry.type == ext4::EntryType::kCharDevice || entry.type == ext4::EntryType::kBlockDevice) {
        decode_device(inode, entry);
    }
    return entry;
}

}  // namespace drupe::imagefs::guestfs
