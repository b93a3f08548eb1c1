#include "imagefs/store/layer_format.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <cstring>

#include "base/check.h"
#include "base/codec.h"
#include "base/crc32c.h"

namespace drupe::imagefs {
namespace {

constexpr std::string_view kMagic = "DRUPELYR";
constexpr uint32_t kVersion = 1;
constexpr size_t kIncompatFlagsAt = 16;

void put_digest(Encoder& out, const Digest& digest) {
    for (const uint8_t byte : digest.bytes) out.put(byte);
}

template <size_t N>
std::array<uint8_t, N> get_array(Decoder& in) {
    std::array<uint8_t, N> bytes{};
    for (uint8_t& byte : bytes) byte = in.get<uint8_t>();
    return bytes;
}

Digest get_digest(Decoder& in) {
    return Digest{get_array<32>(in)};
}

Error bad(std::string_view name, std::string what) {
    return Error{ErrorCode::kCorrupt, fmt::format("layer file {}: {}", name, what)};
}

}  // namespace

LayerLayout layout_of(uint64_t data_blocks, uint32_t extent_count) {
    LayerLayout layout;
    layout.index = kBlock * (1 + data_blocks);
    layout.index_bytes = uint64_t{extent_count} * kExtentBytes;
    layout.sums = layout.index + round_up_to_block(layout.index_bytes);
    layout.leaf_count = (data_blocks + kBlocksPerMerkleLeaf - 1) / kBlocksPerMerkleLeaf;
    layout.sums_bytes = data_blocks * sizeof(uint32_t) + layout.leaf_count * sizeof(Digest);
    layout.trailer = layout.sums + round_up_to_block(layout.sums_bytes);
    layout.file_bytes = layout.trailer + kBlock;
    return layout;
}

LayerLayout sparse_layout(uint64_t virtual_blocks, uint32_t extent_count) {
    LayerLayout layout;
    layout.index = kBlock * virtual_blocks;
    layout.index_bytes = uint64_t{extent_count} * kExtentBytes;
    layout.trailer = layout.index + round_up_to_block(layout.index_bytes);
    layout.sums = layout.trailer;  // none
    layout.file_bytes = layout.trailer + kBlock;
    return layout;
}

LayerLayout layout_of(const LayerInfo& info) {
    return info.form == LayerForm::kSparse
               ? sparse_layout(info.identity.virtual_blocks, info.extent_count)
               : layout_of(info.data_blocks, info.extent_count);
}

uint64_t LayerInfo::stored_bytes() const {
    if (form == LayerForm::kPacked) return file_bytes;
    const LayerLayout layout = layout_of(*this);
    return data_blocks * kBlock + layout.file_bytes - layout.index;
}

bool is_sparse_header(std::string_view block) {
    uint32_t flags = 0;
    if (block.substr(0, kMagic.size()) != kMagic || !block_is_sealed(block)) return false;
    std::memcpy(&flags, block.data() + kIncompatFlagsAt, sizeof flags);
    return flags == static_cast<uint32_t>(LayerForm::kSparse);
}

std::string seal_block(std::string block) {
    DRUPE_CHECK(block.size() <= kBlock - sizeof(uint32_t));
    block.resize(kBlock - sizeof(uint32_t));
    const uint32_t crc = crc32c(std::as_bytes(std::span(block)));
    block.append(reinterpret_cast<const char*>(&crc), sizeof crc);
    return block;
}

bool block_is_sealed(std::string_view block) {
    if (block.size() != kBlock) return false;
    uint32_t crc = 0;
    std::memcpy(&crc, block.data() + kBlock - sizeof crc, sizeof crc);
    return crc == crc32c(std::as_bytes(std::span(block.substr(0, kBlock - sizeof crc))));
}

std::string encode_layer_header(const LayerInfo& info) {
    const LayerLayout layout = layout_of(info);
    Encoder out;
    out.put_raw(kMagic);
    out.put(kVersion);
    out.put(uint32_t{0});                       // compat flags
    out.put(static_cast<uint32_t>(info.form));  // incompat flags
    out.put(static_cast<uint32_t>(kBlock));
    for (const uint8_t byte : info.uuid) out.put(byte);
    out.put(info.identity.virtual_blocks);
    put_digest(out, info.identity.parent.value_or(Digest{}));
    put_digest(out, info.identity.chain_id);
    put_digest(out, info.identity.diff_id);
    out.put(info.data_begin() * kBlock);
    out.put(info.data_blocks);
    out.put(layout.index);
    out.put(info.extent_count);
    out.put(info.index_crc);
    out.put(layout.sums);
    out.put(info.sums_crc);
    out.put(kBlocksPerMerkleLeaf);
    out.put(layout.trailer);
    put_digest(out, info.merkle_root);
    return seal_block(out.take());
}

Result<LayerInfo> decode_layer_header(std::string_view block, LayerForm form,
                                      std::string_view name) {
    Decoder in(block);
    if (block.substr(0, kMagic.size()) != kMagic) return bad(name, "no layer's magic number");
    (void)in.get<uint64_t>();
    const auto version = in.get<uint32_t>();
    (void)in.get<uint32_t>();  // compat flags: unknown ones don't matter
    const auto incompat = in.get<uint32_t>();
    if (!block_is_sealed(block)) return bad(name, "the header's checksum is wrong");
    if (version != kVersion || incompat != static_cast<uint32_t>(form)) {
        return Error{ErrorCode::kUnsupported,
                     fmt::format("layer file {}: format version {} with incompat flags {:#x}; this "
                                 "build reads version {} with {:#x} there",
                                 name, version, incompat, kVersion, static_cast<uint32_t>(form))};
    }
    const auto block_size = in.get<uint32_t>();
    LayerInfo info;
    info.form = form;
    info.uuid = get_array<16>(in);
    info.identity.virtual_blocks = in.get<uint64_t>();
    const Digest parent = get_digest(in);
    if (!parent.is_null()) info.identity.parent = parent;
    info.identity.chain_id = get_digest(in);
    info.identity.diff_id = get_digest(in);
    const auto data_offset = in.get<uint64_t>();
    info.data_blocks = in.get<uint64_t>();
    const auto index_offset = in.get<uint64_t>();
    info.extent_count = in.get<uint32_t>();
    info.index_crc = in.get<uint32_t>();
    const auto sums_offset = in.get<uint64_t>();
    info.sums_crc = in.get<uint32_t>();
    const auto leaf_blocks = in.get<uint32_t>();
    const auto trailer_offset = in.get<uint64_t>();
    info.merkle_root = get_digest(in);

    if (block_size != kBlock) return bad(name, fmt::format("block size {}", block_size));
    if (leaf_blocks != kBlocksPerMerkleLeaf) {
        return bad(name, fmt::format("{} blocks in a Merkle leaf", leaf_blocks));
    }
    if (info.identity.virtual_blocks == 0 || info.identity.virtual_blocks > kMaxVirtualBlocks) {
        return bad(name, fmt::format("a disk of {} blocks", info.identity.virtual_blocks));
    }
    if (info.identity.chain_id.is_null()) return bad(name, "no chain ID");
    if (info.data_blocks > info.identity.virtual_blocks) {
        return bad(name, fmt::format("{} data blocks for a disk of {}", info.data_blocks,
                                     info.identity.virtual_blocks));
    }
    if (info.extent_count > kMaxExtentsPerLayer) {
        return bad(name, fmt::format("{} extents", info.extent_count));
    }
    const LayerLayout layout = layout_of(info);
    if (data_offset != info.data_begin() * kBlock || index_offset != layout.index ||
        sums_offset != layout.sums || trailer_offset != layout.trailer) {
        return bad(name, "a section's offset doesn't follow from the counts");
    }
    info.file_bytes = layout.file_bytes;
    return info;
}

std::string encode_extent(const LayerExtent& extent) {
    Encoder out;
    out.put(extent.lba | uint64_t{extent.blocks} << 40);
    out.put(extent.offset | static_cast<uint64_t>(extent.kind) << 48);
    return out.take();
}

LayerExtent decode_extent(const std::byte* bytes) {
    std::array<uint64_t, 2> words{};
    std::memcpy(words.data(), bytes, sizeof words);
    return {words[0] & ((uint64_t{1} << 40) - 1), static_cast<uint32_t>(words[0] >> 40),
            static_cast<ExtentKind>(words[1] >> 48), words[1] & ((uint64_t{1} << 48) - 1)};
}

Result<LayerInfo> read_layer_header(int fd, std::string_view name) {
    std::string block(kBlock, '\0');
    struct stat st {};
    if (::fstat(fd, &st) < 0) return os_error(fmt::format("layer file {}: fstat", name));
    if (static_cast<uint64_t>(st.st_size) < 2 * kBlock) return bad(name, "too short for a layer");
    const auto read_block = [&](uint64_t offset) -> Status {
        Status read = read_exact(fd, std::as_writable_bytes(std::span(block)), offset);
        if (!read) return std::move(read).error().wrap(fmt::format("layer file {}", name));
        return ok();
    };
    TRY(read_block(static_cast<uint64_t>(st.st_size) - kBlock));
    const bool sparse = is_sparse_header(block);
    if (!sparse) {
        TRY(read_block(0));
    }
    TRY_ASSIGN(LayerInfo info,
               decode_layer_header(block, sparse ? LayerForm::kSparse : LayerForm::kPacked, name));
    if (static_cast<uint64_t>(st.st_size) != info.file_bytes) {
        return bad(name, fmt::format("{} bytes long instead of {}", st.st_size, info.file_bytes));
    }
    return info;
}

}  // namespace drupe::imagefs
