#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "base/result.h"

namespace drupe {

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
};

}  // namespace drupe
