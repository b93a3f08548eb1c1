#pragma once

#include "imagefs/oci/compressed_input.h"

namespace drupe::imagefs::oci {

// bzip2 and xz, for make_archive_decompressor(). As with gzip(1)'s members, streams in a row are
// one.

[[nodiscard]] bool is_bzip2(std::span<const std::byte> start);
[[nodiscard]] ByteSourcePtr make_bzip2_source(CompressedInput input);

[[nodiscard]] bool is_xz(std::span<const std::byte> start);
[[nodiscard]] ByteSourcePtr make_xz_source(CompressedInput input);

}  // namespace drupe::imagefs::oci
