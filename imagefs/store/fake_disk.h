#pragma once

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "imagefs/store/block_backend.h"

namespace drupe::imagefs::test {

/// The simplest disk there is, and stricter than any other: it refuses what isn't allowed.
class FakeDisk final : public BlockBackend {
  public:
    explicit FakeDisk(std::vector<std::byte> content) : content_(std::move(content)) {}
    [[nodiscard]] uint64_t size_bytes() const override { return content_.size(); }
    [[nodiscard]] bool read_only() const override { return false; }
    [[nodiscard]] Status read(uint64_t offset, std::span<const iovec> out) override {
        TRY(check(offset, total(out)));
        for (const iovec& v : out) {
            if (v.iov_len > 0) std::memcpy(v.iov_base, content_.data() + offset, v.iov_len);
            offset += v.iov_len;
        }
        return ok();
    }
    [[nodiscard]] Status write(uint64_t offset, std::span<const iovec> data) override {
        TRY(check(offset, total(data)));
        for (const iovec& v : data) {
            if (v.iov_len > 0) std::memcpy(content_.data() + offset, v.iov_base, v.iov_len);
            offset += v.iov_len;
        }
        return ok();
    }
    [[nodiscard]] Status flush() override { return ok(); }
    [[nodiscard]] Status write_zeroes(uint64_t offset, uint64_t length, bool) override {
        TRY(check(offset, length));
        std::fill_n(content_.begin() + static_cast<ptrdiff_t>(offset), length, std::byte{0});
        return ok();
    }
    [[nodiscard]] Status discard(uint64_t offset, uint64_t length) override {
        return write_zeroes(offset, length, true);
    }

  private:
    static uint64_t total(std::span<const iovec> list) {
        uint64_t sum = 0;
        for (const iovec& v : list) {
            if (v.iov_len > UINT64_MAX - sum) return UINT64_MAX;
            sum += v.iov_len;
        }
        return sum;
    }
    [[nodiscard]] Status check(uint64_t offset, uint64_t length) const {
        if (offset % kBlockSize != 0 || length % kBlockSize != 0 || offset > content_.size() ||
            length > content_.size() - offset) {
            return Error{ErrorCode::kInvalid, "not whole blocks inside the disk"};
        }
        return ok();
    }
    std::vector<std::byte> content_;
};

}  // namespace drupe::imagefs::test
