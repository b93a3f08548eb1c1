#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/result.h"

namespace drupe::imagefs {

/// Walks a scatter list in pieces whose bounds needn't be the list's. Copies no data and allocates
/// nothing.
class IovecCursor {
  public:
    using Window = std::array<iovec, 64>;

    explicit IovecCursor(std::span<const iovec> list) : rest_(list) {}

    /// The list's length in bytes; UINT64_MAX if that overflows.
    [[nodiscard]] static uint64_t total(std::span<const iovec> list) {
        uint64_t sum = 0;
        for (const iovec& v : list) {
            if (v.iov_len > UINT64_MAX - sum) return UINT64_MAX;
            sum += v.iov_len;
        }
        return sum;
    }

    /// The next pieces, `bytes` together at most (fewer if they don't fit into the window).
    [[nodiscard]] std::span<const iovec> peek(uint64_t bytes, Window& window) const {
        size_t count = 0;
        size_t skip = skip_;
        for (const iovec& v : rest_) {
            if (bytes == 0 || count == window.size()) break;
            const size_t length = std::min<uint64_t>(v.iov_len - skip, bytes);
            if (length > 0) {
                window[count++] = {static_cast<char*>(v.iov_base) + skip, length};
                bytes -= length;
            }
            skip = 0;
        }
        return {window.data(), count};
    }

    void advance(uint64_t bytes) {
        while (!rest_.empty()) {
            const size_t left = rest_.front().iov_len - skip_;
            if (bytes < left) {
                skip_ += bytes;
                return;
            }
            bytes -= left;
            rest_ = rest_.subspan(1);
            skip_ = 0;
        }
    }

    /// Fills the next `bytes` with zeroes and steps over them.
    void zero(uint64_t bytes) {
        Window window;
        while (bytes > 0) {
            uint64_t done = 0;
            for (const iovec& v : peek(bytes, window)) {
                std::memset(v.iov_base, 0, v.iov_len);
                done += v.iov_len;
            }
            if (done == 0) return;
            advance(done);
            bytes -= done;
        }
    }

  private:
    std::span<const iovec> rest_;
    size_t skip_ = 0;  ///< Bytes of rest_.front() that are done.
};

/// preadv/pwritev of exactly `bytes` at `offset`, stepping the cursor over them.
/// kCorrupt: the file ends before.
[[nodiscard]] Status read_at(int fd, IovecCursor& out, uint64_t bytes, uint64_t offset);
[[nodiscard]] Status write_at(int fd, IovecCursor& data, uint64_t bytes, uint64_t offset);

/// kInvalid unless [offset, offset + length) is made of whole blocks inside the disk.
[[nodiscard]] Status check_range(uint64_t offset, uint64_t length, uint64_t size_bytes);

/// The host has no room now, and nothing is lost by trying again when it has: kLimit with ENOSPC.
[[nodiscard]] bool waits_for_room(const Status& status);
/// A failed call that may be made again: if it failed with ENOSPC, waits_for_room() says so.
[[nodiscard]] Status may_be_repeated(Status status);

/// fallocate to make a hole, fdatasync; both go on after EINTR.
[[nodiscard]] Status punch_hole(int fd, uint64_t offset, uint64_t length);
[[nodiscard]] Status sync_data(int fd);

}  // namespace drupe::imagefs
