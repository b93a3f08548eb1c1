#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"

namespace drupe::imagefs {

/// One call on a file, as a DiskQueue orders it.
struct DiskOperation {
    enum class Kind : uint8_t { kRead, kWrite, kSync };
    Kind kind{};
    int fd = -1;
    std::span<const iovec> data;  ///< At least one; none for kSync. What they point to is in use
                                  ///< until the result, they themselves until run() returns.
    uint64_t offset = 0;          ///< Bytes, in the file.
    void* token = nullptr;        ///< Comes back with the result.
};

struct DiskResult {
    void* token = nullptr;
    int result = 0;  ///< Bytes, which may be fewer than asked for, or -errno.
};

/// Makes calls on files, several at a time and in any order. Each operation that was prepared gives
/// one result. Used by one thread at a time; destroyed with nothing under way.
class DiskIo {
  public:
    static constexpr size_t kDepth = 128;  ///< Most operations without a result.

    virtual ~DiskIo() = default;

    /// Takes an operation; it begins with the next run().
    virtual void prepare(const DiskOperation& operation) = 0;
    /// Begins what was prepared and gives the results that are there, as many as fit; with wait
    /// (and something under way), at least one.
    [[nodiscard]] virtual size_t run(std::span<DiskResult> results, bool wait) = 0;
    /// Readable while results wait; -1: all results are there when run() returns.
    [[nodiscard]] virtual int ready_fd() const = 0;
};

/// preadv, pwritev and fdatasync, one after the other, within run(). Where there is no io_uring.
[[nodiscard]] std::unique_ptr<DiskIo> make_plain_io();

/// An io_uring, set up completely: afterwards it makes only io_uring_enter, and
/// the ring takes no operation but reads, writes and syncs. One run() is at most one system call,
/// and one pwritev for each small write, which is a copy into the page cache.
/// Its memory is about 24 KiB. kIo: the host has no io_uring, or doesn't allow it.
[[nodiscard]] Result<std::unique_ptr<DiskIo>> make_ring_io();

}  // namespace drupe::imagefs
