#include "imagefs/store/layer_file.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/crc32c.h"
#include "imagefs/store/layer_format.h"
#include "imagefs/store/layer_sums.h"

namespace drupe::imagefs {
namespace {

Error bad(std::string_view name, std::string what) {
    return Error{ErrorCode::kCorrupt, fmt::format("layer file {}: {}", name, what)};
}

Result<std::string> read_section(int fd, uint64_t offset, uint64_t bytes, std::string_view name) {
    std::string section(bytes, '\0');
    if (Status read = read_exact(fd, std::as_writable_bytes(std::span(section)), offset); !read) {
        return std::move(read).error().wrap(fmt::format("layer file {}", name));
    }
    return section;
}

Result<std::vector<LayerExtent>> decode_index(std::string_view index, const LayerInfo& info,
                                              std::string_view name) {
    std::vector<LayerExtent> extents;
    extents.reserve(info.extent_count);
    const bool sparse = info.form == LayerForm::kSparse;
    uint64_t next_lba = 0;
    uint64_t next_offset = 1;
    for (uint32_t i = 0; i < info.extent_count; ++i) {
        const LayerExtent extent =
            decode_extent(reinterpret_cast<const std::byte*>(index.data()) + i * kExtentBytes);
        const auto fail = [&](std::string_view why) {
            return bad(name, fmt::format("extent {} (block {}, {} long): {}", i, extent.lba,
                                         extent.blocks, why));
        };
        const uint64_t size = info.identity.virtual_blocks;
        if (extent.blocks == 0) return fail("it is empty");
        if (extent.lba < next_lba) return fail("it isn't behind the one before it");
        if (extent.lba > size || extent.blocks > size - extent.lba) {
            return fail("it is outside the disk");
        }
        if (extent.kind == ExtentKind::kData) {
            if (extent.offset != (sparse ? extent.lba : next_offset)) {
                return fail("its data isn't behind the data before");
            }
            next_offset += extent.blocks;
        } else if (extent.kind != ExtentKind::kZero || extent.offset != 0) {
            return fail("its type is unknown");
        }
        next_lba = extent.lba + extent.blocks;
        extents.push_back(extent);
    }
    if (next_offset != 1 + info.data_blocks) {
        return bad(name, fmt::format("its extents hold {} data blocks, its header says {}",
                                     next_offset - 1, info.data_blocks));
    }
    return extents;
}

/// The CRCs of the data that the file has against those that it says it has.
Status compare_crcs(const LayerSums& sums, std::string_view stored, uint64_t from,
                    std::string_view name) {
    for (uint64_t i = from; i < sums.crcs().size(); ++i) {
        uint32_t crc = 0;
        std::memcpy(&crc, stored.data() + i * sizeof crc, sizeof crc);
        if (crc != sums.crcs()[i]) {
            return bad(name, fmt::format("data block {} does not match its checksum", i));
        }
    }
    return ok();
}

}  // namespace

Result<LayerFile> LayerFile::open(Fd fd, std::string name) {
    LayerFile layer;
    TRY_ASSIGN(layer.info_, read_layer_header(fd.get(), name));
    const LayerLayout layout = layout_of(layer.info_);
    TRY_ASSIGN(const std::string index,
               read_section(fd.get(), layout.index, layout.index_bytes, name));
    if (crc32c(std::as_bytes(std::span(index))) != layer.info_.index_crc) {
        return bad(name, "the index's checksum is wrong");
    }
    TRY_ASSIGN(layer.extents_, decode_index(index, layer.info_, name));
    layer.fd_ = std::move(fd);
    layer.name_ = std::move(name);
    return layer;
}

Status LayerFile::verify() const {
    if (info_.form == LayerForm::kSparse) return ok();
    const LayerLayout layout = layout_of(info_);
    TRY_ASSIGN(const std::string stored, read_section(fd(), layout.sums, layout.sums_bytes, name_));
    if (crc32c(std::as_bytes(std::span(stored))) != info_.sums_crc) {
        return bad(name_, "the checksum of the sums section is wrong");
    }
    LayerSums sums;
    std::vector<std::byte> buffer(kBlocksPerMerkleLeaf * kBlock);
    for (uint64_t block = 0; block < info_.data_blocks;) {
        const uint64_t count = std::min<uint64_t>(kBlocksPerMerkleLeaf, info_.data_blocks - block);
        const std::span<std::byte> part = std::span(buffer).first(count * kBlock);
        if (Status read = read_exact(fd(), part, (1 + block) * kBlock); !read) {
            return std::move(read).error().wrap(fmt::format("layer file {}", name_));
        }
        sums.add(part);
        TRY(compare_crcs(sums, stored, block, name_));
        block += count;
    }
    sums.finish();
    if (sums.encode() != stored) return bad(name_, "a Merkle leaf does not match its data");
    TRY_ASSIGN(const std::string index,
               read_section(fd(), layout.index, layout.index_bytes, name_));
    if (sums.root(index, info_.identity.virtual_blocks) != info_.merkle_root) {
        return bad(name_, "the Merkle root does not match the data");
    }
    if (layer_uuid(info_.identity.chain_id, info_.merkle_root) != info_.uuid) {
        return bad(name_, "the UUID does not match the content");
    }
    TRY_ASSIGN(const std::string header, read_section(fd(), 0, kBlock, name_));
    TRY_ASSIGN(const std::string trailer, read_section(fd(), layout.trailer, kBlock, name_));
    if (header != trailer) return bad(name_, "the trailer is not a copy of the header");
    return ok();
}

}  // namespace drupe::imagefs
