#pragma once

#include <cstdint>

#include "base/result.h"
#include "imagefs/ext4/block_device.h"

struct struct_io_manager;

namespace drupe::imagefs::ext4 {

/// libext2fs's way to a BlockDevice: an io_manager with a bounded write-back cache (16 MiB).
/// libext2fs opens channels by name and has no place for our device in the call, so the device is
/// handed over per thread: it must live in a scope around ext2fs_open/initialize.
class DeviceForOpen {
  public:
    explicit DeviceForOpen(BlockDevice& device);
    ~DeviceForOpen();
    DeviceForOpen(const DeviceForOpen&) = delete;
    DeviceForOpen& operator=(const DeviceForOpen&) = delete;
};

[[nodiscard]] struct_io_manager* device_io_manager();

/// The device's own error behind a failed libext2fs call on this thread, if there was one
/// (otherwise success); taking it clears it.
[[nodiscard]] Status take_device_error();

}  // namespace drupe::imagefs::ext4
