#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "imagefs/store/digest.h"

namespace drupe::imagefs {

/// The byte layout of a merged index (docs/formats/merged-index.md), shared by reader and writer.
///
/// An entry is 0 (no layer has the block), or layer << 48 | block in the layer's file. Level 1 has
/// an entry for each kBlocksPerPage blocks: 0, or where the first of a run of that many lies, or
/// kPageTag << 48 | number of the level 2 page with an entry for each block.
inline constexpr uint64_t kBlocksPerPage = 512;
inline constexpr uint64_t kPageTag = 0xFFFF;
inline constexpr uint64_t kOffsetMask = (uint64_t{1} << 48) - 1;
inline constexpr uint64_t kIndexLayerBytes = 32;
inline constexpr uint64_t kSparseFlag = 1;  ///< A layer's flags: its data begins at block 0.

struct MergedIndexHeader {
    uint64_t virtual_blocks = 0;
    ChainId chain_id;
    uint32_t layer_count = 0;
    uint32_t page_count = 0;
    uint32_t body_crc = 0;  ///< CRC32C of all that follows the header.

    [[nodiscard]] uint64_t slots() const {
        return (virtual_blocks + kBlocksPerPage - 1) / kBlocksPerPage;
    }
    /// Byte offsets of level 1 and of the level 2 pages, and the file's size.
    [[nodiscard]] uint64_t table_offset() const;
    [[nodiscard]] uint64_t pages_offset() const;
    [[nodiscard]] uint64_t file_bytes() const;
};

[[nodiscard]] std::string encode_merged_index_header(const MergedIndexHeader& header);
[[nodiscard]] Result<MergedIndexHeader> decode_merged_index_header(std::string_view block,
                                                                   std::string_view name);

}  // namespace drupe::imagefs
