#pragma once

#include "imagefs/ext4/entry.h"
#include "imagefs/ext4/filesystem.h"

namespace drupe::imagefs::ext4 {

/// Mode (permission bits), owner and times of an entry; the file type stays. Times outside what
/// ext4 holds (1901 to 2446) are clamped, as the kernel does.
void set_metadata(Inode& inode, const Entry& entry);

/// A fresh inode with one link and an empty extent tree; type is LINUX_S_IF*.
[[nodiscard]] Inode make_inode(uint16_t type, const Entry& entry);

/// The same without an extent tree: for devices, fifos and short symlinks.
[[nodiscard]] Inode make_inode_without_blocks(uint16_t type, const Entry& entry);

/// kInvalid if the kernel would not take the numbers.
[[nodiscard]] Status set_device(Inode& inode, uint32_t major, uint32_t minor);

/// Checks an entry's extended attributes and leaves those that ext4 keeps for this type of file, in
/// the order of their names. POSIX ACLs must be what setxattr(2) would accept.
[[nodiscard]] Result<std::vector<Xattr>> accepted_xattrs(const Entry& entry,
                                                         const ApplyLimits& limits);

}  // namespace drupe::imagefs::ext4
