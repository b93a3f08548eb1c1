#include "imagefs/ext4/block_device.h"

#include <fmt/core.h>

#include <fcntl.h>
#include <unistd.h>
#include <array>
#include <cerrno>
#include <cstring>
#include <unordered_map>

#include "base/fd.h"

namespace drupe::imagefs::ext4 {
namespace {

Status check_range(uint64_t lba, uint64_t count, uint64_t size) {
    if (lba > size || count > size - lba) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("blocks {}+{} lie outside a disk of {} blocks", lba, count, size)};
    }
    return ok();
}

class MemoryDevice final : public BlockDevice {
  public:
    MemoryDevice(uint64_t block_count, uint64_t max_in_use)
        : block_count_(block_count), max_in_use_(max_in_use) {}

    uint64_t block_count() const override { return block_count_; }

    Status read_blocks(uint64_t lba, std::span<std::byte> out) override {
        TRY(check_range(lba, out.size() / kBlockSize, block_count_));
        for (size_t at = 0; at < out.size(); at += kBlockSize) {
            const auto found = blocks_.find(lba + at / kBlockSize);
            if (found == blocks_.end()) {
                std::memset(out.data() + at, 0, kBlockSize);
            } else {
                std::memcpy(out.data() + at, found->second->data(), kBlockSize);
            }
        }
        return ok();
    }

    Status write_blocks(uint64_t lba, std::span<const std::byte> data) override {
        TRY(check_range(lba, data.size() / kBlockSize, block_count_));
        for (size_t at = 0; at < data.size(); at += kBlockSize) {
            std::unique_ptr<Block>& block = blocks_[lba + at / kBlockSize];
            if (!block) {
                if (blocks_.size() > max_in_use_) {
                    return Error{ErrorCode::kLimit, "the memory device is full"};
                }
                block = std::make_unique<Block>();
            }
            std::memcpy(block->data(), data.data() + at, kBlockSize);
        }
        return ok();
    }

    Status zero_blocks(uint64_t lba, uint64_t count) override {
        TRY(check_range(lba, count, block_count_));
        if (count > blocks_.size()) {
            std::erase_if(blocks_, [&](const auto& entry) {
                return entry.first >= lba && entry.first - lba < count;
            });
        } else {
            for (uint64_t i = 0; i < count; ++i) blocks_.erase(lba + i);
        }
        return ok();
    }

  private:
    using Block = std::array<std::byte, kBlockSize>;
    uint64_t block_count_;
    uint64_t max_in_use_;
    std::unordered_map<uint64_t, std::unique_ptr<Block>> blocks_;
};

class FileDevice final : public BlockDevice {
  public:
    FileDevice(int fd, uint64_t block_count) : fd_(fd), block_count_(block_count) {}

    uint64_t block_count() const override { return block_count_; }

    Status read_blocks(uint64_t lba, std::span<std::byte> out) override {
        TRY(check_range(lba, out.size() / kBlockSize, block_count_));
        return read_exact(fd_, out, lba * kBlockSize);
    }
    Status write_blocks(uint64_t lba, std::span<const std::byte> data) override {
        TRY(check_range(lba, data.size() / kBlockSize, block_count_));
        return write_exact(fd_, data, lba * kBlockSize);
    }
    Status zero_blocks(uint64_t lba, uint64_t count) override {
        TRY(check_range(lba, count, block_count_));
        if (fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                      static_cast<off_t>(lba * kBlockSize),
                      static_cast<off_t>(count * kBlockSize)) != 0) {
            return os_error("punch a hole into the disk image");
        }
        return ok();
    }

  private:
    int fd_;
    uint64_t block_count_;
};

}  // namespace

std::unique_ptr<BlockDevice> make_memory_device(uint64_t block_count, uint64_t max_blocks_in_use) {
    return std::make_unique<MemoryDevice>(block_count, max_blocks_in_use);
}

std::unique_ptr<BlockDevice> make_file_device(int fd, uint64_t block_count) {
    return std::make_unique<FileDevice>(fd, block_count);
}

}  // namespace drupe::imagefs::ext4
