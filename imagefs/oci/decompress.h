#pragma once

#include "imagefs/oci/byte_sources.h"

namespace drupe::imagefs::oci {

/// Decompresses a stream by what it starts with: gzip (also several members in a row), zstd (also
/// several frames, skippable ones among them), or nothing. inner must outlive it. Errors: kCorrupt.
/// How much may come out is limited by whoever reads.
struct Decompressor {
    ByteSourcePtr source;
    bool compressed = false;  ///< Otherwise the same bytes come out.
    std::string_view suffix;  ///< "+gzip", "+zstd" or "": of OCI's media types.
};
[[nodiscard]] Result<Decompressor> make_decompressor(ByteSource& inner);

/// The same for archives as people make them, which may be bzip2 or xz, too; no registry has layers
/// of those.
[[nodiscard]] Result<Decompressor> make_archive_decompressor(ByteSource& inner);

/// Whether a stream that starts with these (at least four) bytes is gzip or zstd.
[[nodiscard]] bool is_compressed(std::span<const std::byte> start);

/// As many bytes tell (fewer, if there are no more) which of the four it is.
inline constexpr size_t kArchiveMagicBytes = 6;
[[nodiscard]] bool is_compressed_archive(std::span<const std::byte> start);

/// How far compressed data may expand: as much as it likes up to a floor, then by a ratio. Layers
/// full of zeroes are legitimate; endless ones are not.
struct ExpansionLimit {
    uint64_t floor_bytes = uint64_t{4} << 30;
    uint64_t ratio = 256;
    [[nodiscard]] uint64_t max_bytes(uint64_t compressed_bytes) const {
        const uint64_t scaled =
            compressed_bytes > UINT64_MAX / ratio ? UINT64_MAX : compressed_bytes * ratio;
        return scaled > floor_bytes ? scaled : floor_bytes;
    }
};

}  // namespace drupe::imagefs::oci
