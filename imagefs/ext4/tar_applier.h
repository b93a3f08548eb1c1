#pragma once

#include "imagefs/ext4/block_device.h"
#include "imagefs/ext4/byte_source.h"
#include "imagefs/ext4/entry.h"

namespace drupe::imagefs::ext4 {

/// Applies an uncompressed layer tar (ustar, PAX, GNU, with sparse files) to the file system on a
/// device, and reads the source to its very end, so that digests further up cover all of it.
/// Sockets and members that aren't files are left out. An error names the entry; the device is of
/// no further use then.
[[nodiscard]] Result<ApplyStats> apply_tar(BlockDevice& device, ByteSource& tar,
                                           const ApplyLimits& limits = {});

}  // namespace drupe::imagefs::ext4
