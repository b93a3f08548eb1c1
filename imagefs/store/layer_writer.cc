#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/crc32c.h"
#include "imagefs/store/layer_file.h"
#include "imagefs/store/layer_format.h"
#include "imagefs/store/layer_sums.h"

namespace drupe::imagefs {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

}  // namespace

struct LayerWriter::State {
    Fd fd;
    LayerInfo info;
    uint64_t next_lba = 0;
    uint64_t data_blocks = 0;
    std::vector<LayerExtent> extents;
    LayerSums sums;

    [[nodiscard]] Status check(uint64_t lba, uint64_t blocks) const {
        const uint64_t size = info.identity.virtual_blocks;
        if (blocks == 0 || lba < next_lba || lba > size || blocks > size - lba) {
            return Error{ErrorCode::kInvalid,
                         fmt::format("a layer's extents must rise and lie inside the disk: {} "
                                     "blocks at {} after {}, of {}",
                                     blocks, lba, next_lba, size)};
        }
        return ok();
    }

    /// Joined with the last extent where possible, so that equal content gives an equal index.
    [[nodiscard]] Status add(LayerExtent extent, uint64_t blocks) {
        next_lba = extent.lba + blocks;
        while (blocks > 0) {
            const bool zero = extent.kind == ExtentKind::kZero;
            LayerExtent* last = extents.empty() ? nullptr : &extents.back();
            const bool joins = last != nullptr && last->kind == extent.kind &&
                               last->lba + last->blocks == extent.lba &&
                               last->blocks < kMaxExtentBlocks;
            if (!joins) {
                if (extents.size() == kMaxExtentsPerLayer) {
                    return Error{ErrorCode::kLimit, fmt::format("a layer of more than {} extents",
                                                                kMaxExtentsPerLayer)};
                }
                last = &extents.emplace_back(extent);
                last->blocks = 0;
            }
            const uint64_t part = std::min<uint64_t>(blocks, kMaxExtentBlocks - last->blocks);
            last->blocks += static_cast<uint32_t>(part);
            extent.lba += part;
            if (!zero) extent.offset += part;
            blocks -= part;
        }
        return ok();
    }
};

LayerWriter::LayerWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
LayerWriter::LayerWriter(LayerWriter&&) noexcept = default;
LayerWriter& LayerWriter::operator=(LayerWriter&&) noexcept = default;
LayerWriter::~LayerWriter() = default;

Result<LayerWriter> LayerWriter::create(Fd fd, const LayerIdentity& identity) {
    if (identity.virtual_blocks == 0 || identity.virtual_blocks > kMaxVirtualBlocks ||
        identity.chain_id.is_null() || (identity.parent && identity.parent->is_null())) {
        return Error{ErrorCode::kInvalid,
                     "a layer needs a size of 1 to 2^32 blocks and a chain ID"};
    }
    auto state = std::make_unique<State>();
    state->fd = std::move(fd);
    state->info.identity = identity;
    return LayerWriter(std::move(state));
}

Status LayerWriter::add_data(uint64_t lba, std::span<const std::byte> data) {
    if (data.size() % kBlock != 0) {
        return Error{ErrorCode::kInvalid, fmt::format("{} bytes aren't whole blocks", data.size())};
    }
    const uint64_t blocks = data.size() / kBlock;
    TRY(state_->check(lba, blocks));
    const uint64_t offset = 1 + state_->data_blocks;
    TRY(write_exact(state_->fd.get(), data, offset * kBlock));
    state_->sums.add(data);
    state_->data_blocks += blocks;
    return state_->add({lba, 0, ExtentKind::kData, offset}, blocks);
}

Status LayerWriter::add_zero(uint64_t lba, uint64_t blocks) {
    TRY(state_->check(lba, blocks));
    return state_->add({lba, 0, ExtentKind::kZero, 0}, blocks);
}

Result<LayerWriter::Finished> LayerWriter::finish() {
    State& s = *state_;
    s.sums.finish();
    std::string index;
    index.reserve(s.extents.size() * kExtentBytes);
    for (const LayerExtent& extent : s.extents) index += encode_extent(extent);
    std::string sums = s.sums.encode();

    LayerInfo& info = s.info;
    info.data_blocks = s.data_blocks;
    info.extent_count = static_cast<uint32_t>(s.extents.size());
    info.index_crc = crc32c(bytes_of(index));
    info.sums_crc = crc32c(bytes_of(sums));
    info.merkle_root = s.sums.root(index, info.identity.virtual_blocks);
    info.uuid = layer_uuid(info.identity.chain_id, info.merkle_root);
    const LayerLayout layout = layout_of(info.data_blocks, info.extent_count);
    info.file_bytes = layout.file_bytes;

    index.resize(round_up_to_block(index.size()));
    sums.resize(round_up_to_block(sums.size()));
    const std::string header = encode_layer_header(info);
    TRY(write_exact(s.fd.get(), bytes_of(index), layout.index));
    TRY(write_exact(s.fd.get(), bytes_of(sums), layout.sums));
    TRY(write_exact(s.fd.get(), bytes_of(header), layout.trailer));
    TRY(write_exact(s.fd.get(), bytes_of(header), 0));
    return Finished{info, std::move(s.fd)};
}

}  // namespace drupe::imagefs
