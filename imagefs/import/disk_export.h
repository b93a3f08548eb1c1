#pragma once

#include "base/result.h"
#include "imagefs/store/layered_disk.h"

namespace drupe::imagefs {

/// Writes a disk's content to an empty file, as a raw disk image with holes where it is zero.
[[nodiscard]] Status export_raw(const LayeredDisk& disk, int fd);

}  // namespace drupe::imagefs
