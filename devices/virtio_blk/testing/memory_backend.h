#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/check.h"
#include "imagefs/store/block_backend.h"

namespace drupe::virtio::testing {

/// A disk in memory that remembers what was asked of it. Stricter than a real one: a range that its
/// caller should have refused aborts the test.
class MemoryBackend final : public BlockBackend {
  public:
    explicit MemoryBackend(uint64_t size, bool read_only = false)
        : bytes_(size, '\0'), read_only_(read_only) {
        DRUPE_CHECK(size % kBlockSize == 0);
    }

    uint64_t size_bytes() const override { return bytes_.size(); }
    bool read_only() const override { return read_only_; }

    Status read(uint64_t offset, std::span<const iovec> out) override {
        check(offset, total(out));
        if (fail) return broken();
        for (const iovec& part : out) {
            std::memcpy(part.iov_base, &bytes_[offset], part.iov_len);
            offset += part.iov_len;
        }
        return ok();
    }
    Status write(uint64_t offset, std::span<const iovec> data) override {
        DRUPE_CHECK(!read_only_);
        check(offset, total(data));
        if (fail) return broken();
        ++unflushed;
        for (const iovec& part : data) {
            std::memcpy(&bytes_[offset], part.iov_base, part.iov_len);
            offset += part.iov_len;
        }
        return ok();
    }
    Status flush() override {
        if (fail) return broken();
        ++flushes;
        unflushed = 0;
        return ok();
    }
    Status write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override {
        check(offset, length);
        log += may_unmap ? "unmap " : "zero ";
        return clear(offset, length);
    }
    Status discard(uint64_t offset, uint64_t length) override {
        check(offset, length);
        log += "discard ";
        return clear(offset, length);
    }

    [[nodiscard]] std::string& bytes() { return bytes_; }
    bool fail = false;
    int flushes = 0;
    int unflushed = 0;
    std::string log;

  private:
    static uint64_t total(std::span<const iovec> parts) {
        uint64_t sum = 0;
        for (const iovec& part : parts) sum += part.iov_len;
        return sum;
    }
    void check(uint64_t offset, uint64_t length) const {
        DRUPE_CHECK(offset % kBlockSize == 0 && length % kBlockSize == 0);
        DRUPE_CHECK(offset <= bytes_.size() && length <= bytes_.size() - offset);
    }
    Status clear(uint64_t offset, uint64_t length) {
        DRUPE_CHECK(!read_only_);
        if (fail) return broken();
        std::fill_n(bytes_.begin() + static_cast<ptrdiff_t>(offset), length, '\0');
        return ok();
    }
    static Error broken() { return Error{ErrorCode::kIo, "the disk is broken"}; }

    std::string bytes_;
    bool read_only_;
};

}  // namespace drupe::virtio::testing
