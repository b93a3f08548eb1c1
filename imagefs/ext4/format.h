#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "imagefs/ext4/block_device.h"

namespace drupe::imagefs::ext4 {

/// Names the bytes that format_layer0() gives, and with them every chain's identity. Any change of
/// those bytes, or of how a layer is applied to them, is a new version.
inline constexpr std::string_view kFormatterName = "drupe-ext4/2/64GiB";
/// 64 GiB: what every image's disk can grow to. A container's own limit is set at run time.
inline constexpr uint64_t kVirtualBlocks = (uint64_t{64} << 30) / BlockDevice::kBlockSize;
/// The time in everything that no archive gives a time to (seconds).
inline constexpr int64_t kFormatTime = 1'700'000'000;

/// Makes the empty ext4 that every image starts from on a device that reads as zeroes: the same
/// bytes each time. Its root directory is empty: no lost+found, which an image's own / doesn't have
/// either (e2fsck makes one when it needs it).
[[nodiscard]] Status format_layer0(BlockDevice& device);

}  // namespace drupe::imagefs::ext4
