#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "base/result.h"

namespace drupe {

class DirectDisk;

/// A disk as a device sees it: a size and bytes. Knows nothing of virtio, images or files' formats.
/// Offsets and lengths are bytes and multiples of kBlockSize; [offset, offset + length) must lie
/// inside the disk, which callers check first (an implementation refuses with kInvalid all the
/// same). Called by one thread at a time. An error means that the operation may have happened in
/// part.
class BlockBackend {
  public:
    static constexpr uint32_t kBlockSize = 4096;

    virtual ~BlockBackend() = default;

    [[nodiscard]] virtual uint64_t size_bytes() const = 0;
    [[nodiscard]] virtual bool read_only() const = 0;

    /// iovecs may point into guest memory; their lengths needn't be multiples of the block size,
    /// their sum must.
    [[nodiscard]] virtual Status read(uint64_t offset, std::span<const iovec> out) = 0;
    [[nodiscard]] virtual Status write(uint64_t offset, std::span<const iovec> data) = 0;
    /// Everything written before is durable when this returns. Never faked; an error is sticky:
    /// every later flush fails too.
    [[nodiscard]] virtual Status flush() = 0;
    /// The range reads as zeroes afterwards (also after a crash that follows a flush).
    [[nodiscard]] virtual Status write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) = 0;
    /// A hint: the range's content is of no interest. Reads then give zeroes.
    [[nodiscard]] virtual Status discard(uint64_t offset, uint64_t length) = 0;

    /// How a DiskQueue reads and writes the disk's files by itself; nullptr: it can't, and calls
    /// the functions above, one at a time. Part of the disk.
    [[nodiscard]] virtual DirectDisk* direct() { return nullptr; }
};

/// A piece of a disk.
struct DiskExtent {
    int fd = -1;          ///< The file that has it; -1: zeroes. Stays the disk's.
    uint64_t offset = 0;  ///< Bytes, in the file.
    uint64_t bytes = 0;

    [[nodiscard]] bool zeroes() const { return fd < 0; }
};

/// Where a disk's bytes lie, for a queue with many requests in flight. The disk's other functions
/// may be called between these, but write_zeroes(), discard() and flush() only while nothing is
/// being written. Ranges as for BlockBackend, not empty, and checked by the caller.
class DirectDisk {
  public:
    virtual ~DirectDisk() = default;

    /// The longest piece from `offset` on that lies in one place, of 1 to `length` bytes in whole
    /// blocks. True until the range is written or zeroed.
    [[nodiscard]] virtual Result<DiskExtent> locate(uint64_t offset, uint64_t length) = 0;

    /// Where the range is to be written, in one piece. Until end_write() it reads as before, and
    /// no other write may touch it. kDenied: the disk is read-only; kLimit: its quota is used up.
    [[nodiscard]] virtual Result<DiskExtent> begin_write(uint64_t offset, uint64_t length) = 0;
    /// For each begin_write(), with the same range. landed: all of it is in the file now.
    virtual void end_write(uint64_t offset, uint64_t length, bool landed) = 0;

    /// The file whose fdatasync is all that flush() would do now; -1: flush() itself is needed.
    [[nodiscard]] virtual int flush_fd() const = 0;
    /// What became of that fdatasync; a failure is kept, and every later flush fails.
    virtual void end_flush(const Status& synced) = 0;
};

}  // namespace drupe
