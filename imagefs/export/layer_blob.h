#pragma once

#include <cstdint>

#include "base/result.h"
#include "imagefs/ext4/byte_source.h"
#include "imagefs/store/digest.h"

namespace drupe::imagefs {

struct LayerBlob {
    Digest diff_id;  ///< Of what was read.
    Digest digest;   ///< Of what was written.
    uint64_t size = 0;
};

/// Reads a tar to its end and writes it to the empty file `fd`, compressed by gzip: the same bytes
/// for the same tar, with any processor. Doesn't sync.
[[nodiscard]] Result<LayerBlob> compress_layer(ByteSource& tar, int fd);

}  // namespace drupe::imagefs
