#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "imagefs/store/layer_file.h"

namespace drupe::imagefs {

/// The byte layout of a sealed layer (docs/formats/layer.md), shared by its reader and writer.
inline constexpr uint64_t kBlock = 4096;
inline constexpr size_t kExtentBytes = 16;

/// Where the parts of a layer lie, in bytes: follows from two counts.
struct LayerLayout {
    uint64_t index = 0;
    uint64_t index_bytes = 0;
    uint64_t sums = 0;
    uint64_t leaf_count = 0;
    uint64_t sums_bytes = 0;
    uint64_t trailer = 0;
    uint64_t file_bytes = 0;
};
[[nodiscard]] LayerLayout layout_of(uint64_t data_blocks, uint32_t extent_count);
[[nodiscard]] LayerLayout sparse_layout(uint64_t virtual_blocks, uint32_t extent_count);
[[nodiscard]] LayerLayout layout_of(const LayerInfo& info);

[[nodiscard]] std::string encode_layer_header(const LayerInfo& info);
[[nodiscard]] Result<LayerInfo> decode_layer_header(std::string_view block, LayerForm form,
                                                    std::string_view name);
/// Whether a file's last block is the header of a sparse layer.
[[nodiscard]] bool is_sparse_header(std::string_view block);

[[nodiscard]] std::string encode_extent(const LayerExtent& extent);
[[nodiscard]] LayerExtent decode_extent(const std::byte* bytes);

/// Closes a 4 KiB block of metadata: pads with zeroes and ends with the CRC32C of the rest.
[[nodiscard]] std::string seal_block(std::string block);
[[nodiscard]] bool block_is_sealed(std::string_view block);

[[nodiscard]] inline uint64_t round_up_to_block(uint64_t bytes) {
    return (bytes + kBlock - 1) / kBlock * kBlock;
}

}  // namespace drupe::imagefs
