#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/crc32c.h"
#include "imagefs/store/layer_file.h"
#include "imagefs/store/layer_format.h"

namespace drupe::imagefs {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

Result<std::vector<LayerExtent>> extents_of(const BlockMap& map) {
    std::vector<LayerExtent> extents;
    for (uint64_t lba = 0; lba < map.blocks();) {
        const BlockMap::Run run = map.run(lba, map.blocks() - lba);
        const bool data = run.state == BlockState::kData;
        for (uint64_t done = 0; run.state != BlockState::kAbsent && done < run.blocks;) {
            if (extents.size() == kMaxExtentsPerLayer) {
                return Error{ErrorCode::kLimit,
                             fmt::format("a layer of more than {} extents", kMaxExtentsPerLayer)};
            }
            const uint64_t part = std::min<uint64_t>(run.blocks - done, kMaxExtentBlocks);
            extents.push_back({lba + done, static_cast<uint32_t>(part),
                               data ? ExtentKind::kData : ExtentKind::kZero,
                               data ? lba + done : 0});
            done += part;
        }
        lba += run.blocks;
    }
    return extents;
}

}  // namespace

Result<SparseLayer> write_sparse_layer(int data_fd, const LayerIdentity& identity, const Uuid& uuid,
                                       const BlockMap& map) {
    SparseLayer layer;
    TRY_ASSIGN(layer.extents, extents_of(map));
    std::string index;
    index.reserve(layer.extents.size() * kExtentBytes);
    for (const LayerExtent& extent : layer.extents) index += encode_extent(extent);
    LayerInfo& info = layer.info;
    info.identity = identity;
    info.form = LayerForm::kSparse;
    info.uuid = uuid;
    info.data_blocks = map.count(BlockState::kData);
    info.extent_count = static_cast<uint32_t>(layer.extents.size());
    info.index_crc = crc32c(bytes_of(index));
    const LayerLayout layout = layout_of(info);
    info.file_bytes = layout.file_bytes;
    index.resize(round_up_to_block(index.size()));
    index += encode_layer_header(info);
    TRY(write_exact(data_fd, bytes_of(index), layout.index));
    return layer;
}

}  // namespace drupe::imagefs
