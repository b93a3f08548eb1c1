#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "imagefs/ext4/block_device.h"
#include "imagefs/store/block_backend.h"

namespace drupe::imagefs {

/// A disk as the device that a file system is read from and written to. Borrows the disk.
class DiskDevice final : public ext4::BlockDevice {
  public:
    explicit DiskDevice(BlockBackend& disk) : disk_(disk) {}

    uint64_t block_count() const override { return disk_.size_bytes() / kBlockSize; }
    Status read_blocks(uint64_t lba, std::span<std::byte> out) override {
        const iovec v{out.data(), out.size()};
        return disk_.read(lba * kBlockSize, {&v, 1});
    }
    Status write_blocks(uint64_t lba, std::span<const std::byte> data) override {
        const iovec v{const_cast<std::byte*>(data.data()), data.size()};
        return disk_.write(lba * kBlockSize, {&v, 1});
    }
    Status zero_blocks(uint64_t lba, uint64_t count) override {
        return disk_.write_zeroes(lba * kBlockSize, count * kBlockSize, true);
    }

  private:
    BlockBackend& disk_;
};

}  // namespace drupe::imagefs
