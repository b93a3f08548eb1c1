#pragma once

#include "base/result.h"
#include "imagefs/ext4/block_device.h"

namespace drupe::imagefs::ext4 {

/// Replays the journal of the ext4 on a device, as mounting it would: every committed transaction
/// is written to its place, then the journal is emptied and the superblock says so. No error if
/// there is nothing to replay. libext2fs has no such function outside of e2fsck.
///
/// The device was written by a guest: all it says is bounded and checked. It costs at most three
/// reads of the journal. kUnsupported: features that our own file systems don't have; kCorrupt: a
/// structure or a committed block's checksum is wrong (the device may be changed in part).
[[nodiscard]] Status replay_journal(BlockDevice& device);

}  // namespace drupe::imagefs::ext4
