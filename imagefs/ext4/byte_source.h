#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"

namespace drupe::imagefs {

/// A stream of bytes that is pulled: the stages of an import (file, decompression, checksum) are
/// chained by it.
class ByteSource {
  public:
    virtual ~ByteSource() = default;
    /// Fills part of out (not empty) and says how much; 0 only at the end, and from then on always.
    [[nodiscard]] virtual Result<size_t> read(std::span<std::byte> out) = 0;
};

}  // namespace drupe::imagefs
