#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"

namespace drupe::imagefs::ext4 {

/// Where a file system is built or read: a device of 4 KiB blocks of which most were never written
/// and read as zeroes. The chain of sealed layers under the layer being built is one (adapter in
/// imagefs/import), memory another. One thread at a time.
class BlockDevice {
  public:
    static constexpr size_t kBlockSize = 4096;

    virtual ~BlockDevice() = default;

    [[nodiscard]] virtual uint64_t block_count() const = 0;
    /// out is a multiple of the block size; [lba, lba + n) lies inside the device (kInvalid
    /// otherwise).
    [[nodiscard]] virtual Status read_blocks(uint64_t lba, std::span<std::byte> out) = 0;
    [[nodiscard]] virtual Status write_blocks(uint64_t lba, std::span<const std::byte> data) = 0;
    [[nodiscard]] virtual Status zero_blocks(uint64_t lba, uint64_t count) = 0;
};

/// A sparse device in memory, for tests and fuzzing. max_blocks_in_use bounds what it holds
/// (kLimit beyond).
[[nodiscard]] std::unique_ptr<BlockDevice> make_memory_device(uint64_t block_count,
                                                              uint64_t max_blocks_in_use);

/// A device over a raw file (a sparse disk image). The descriptor stays the caller's.
[[nodiscard]] std::unique_ptr<BlockDevice> make_file_device(int fd, uint64_t block_count);

}  // namespace drupe::imagefs::ext4
