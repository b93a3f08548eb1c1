#pragma once

#include <cstdint>

#include "base/result.h"
#include "imagefs/store/layered_disk.h"

namespace drupe {

/// What a guest has to leave free of its root's file system, so that it can write `room_bytes` more
/// than the image below the disk's top holds: of the image's free space all but that. The image's
/// file system is read with suspicion (a committed one was a guest's); one that can't be measured
/// is an error. 0: the disk has no more room anyway.
[[nodiscard]] Result<uint64_t> bytes_to_reserve(const imagefs::LayeredDisk& disk,
                                                uint64_t room_bytes);

}  // namespace drupe
