#pragma once

#include <functional>

#include "base/result.h"
#include "imagefs/ext4/block_device.h"
#include "imagefs/store/block_backend.h"

namespace drupe::engine {

/// Does work on a disk that a guest wrote, in a child process that can do nothing but ask this one
/// for the disk's blocks: two pipes are all it has, and the reader's seccomp filter is on it. What
/// it asks for is checked and bounded here; a child that dies, says nonsense or takes more than
/// kConfinedCpuSeconds is kIo. The caller's process must have no other thread.
[[nodiscard]] Status with_confined_disk(
    BlockBackend& disk, const std::function<Status(imagefs::ext4::BlockDevice&)>& work);

constexpr unsigned kConfinedCpuSeconds = 600;

}  // namespace drupe::engine
