#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "base/codec.h"
#include "base/crc32c.h"
#include "imagefs/store/layer_file.h"
#include "imagefs/store/layer_format.h"
#include "imagefs/store/merged_index.h"
#include "imagefs/store/merged_index_format.h"

namespace drupe::imagefs {
namespace {

using Page = std::array<uint64_t, kBlocksPerPage>;

/// The whole disk as entries, in pages that exist where a layer has something. Layers are painted
/// over each other, bottom first, so later ones win and a mark of zeroes is an entry of 0: each
/// extent costs its length, whatever the depth. What lies below the first may be another index,
/// which is only looked at where something is painted.
class Painting {
  public:
    explicit Painting(uint64_t slots, const MergedIndex* below = nullptr)
        : pages_(slots), below_(below) {}

    [[nodiscard]] Status paint(const LayerExtent& extent, uint64_t layer) {
        const bool zero = extent.kind == ExtentKind::kZero;
        for (uint64_t i = 0; i < extent.blocks; ++i) {
            const uint64_t lba = extent.lba + i;
            const uint64_t slot = lba / kBlocksPerPage;
            if (pages_[slot] == nullptr) {
                if (zero && (below_ == nullptr || below_->slot(slot) == 0)) continue;
                TRY_ASSIGN(pages_[slot], page_below(slot));
            }
            (*pages_[slot])[lba % kBlocksPerPage] = zero ? 0 : (layer << 48 | (extent.offset + i));
        }
        return ok();
    }

    /// Level 1; the pages that it needs are appended to `kept` in order.
    [[nodiscard]] Result<std::vector<uint64_t>> table(uint64_t virtual_blocks,
                                                      std::vector<const std::byte*>& kept) const {
        std::vector<uint64_t> table(pages_.size());
        for (size_t slot = 0; slot < pages_.size(); ++slot) {
            const std::byte* page = nullptr;
            if (pages_[slot] != nullptr) {
                const uint64_t used =
                    std::min(kBlocksPerPage, virtual_blocks - slot * kBlocksPerPage);
                if (is_run(*pages_[slot], used)) {
                    table[slot] = (*pages_[slot])[0];
                } else {
                    page = reinterpret_cast<const std::byte*>(pages_[slot]->data());
                }
            } else if (below_ != nullptr) {
                table[slot] = below_->slot(slot);
                if (table[slot] >> 48 == kPageTag) {
                    TRY_ASSIGN(page, checked_page(table[slot]));
                }
            }
            if (page == nullptr) continue;
            table[slot] = kPageTag << 48 | kept.size();
            kept.push_back(page);
        }
        return table;
    }

  private:
    static bool is_run(const Page& page, uint64_t used) {
        for (uint64_t i = 1; i < used; ++i) {
            if (page[i] != (page[0] == 0 ? 0 : page[0] + i)) return false;
        }
        return true;
    }

    [[nodiscard]] Result<const std::byte*> checked_page(uint64_t word) const {
        const uint64_t page = word & kOffsetMask;
        if (page < below_->page_count()) return below_->page(static_cast<uint32_t>(page));
        return Error{ErrorCode::kCorrupt, fmt::format("the parent's index has no page {}", page)};
    }

    [[nodiscard]] Result<std::unique_ptr<Page>> page_below(uint64_t slot) const {
        auto page = std::make_unique<Page>();
        const uint64_t word = below_ == nullptr ? 0 : below_->slot(slot);
        if (word >> 48 == kPageTag) {
            TRY_ASSIGN(const std::byte* const from, checked_page(word));
            std::memcpy(page->data(), from, kBlock);
        } else if (word != 0) {
            for (uint64_t i = 0; i < kBlocksPerPage; ++i) (*page)[i] = word + i;
        }
        return page;
    }

    std::vector<std::unique_ptr<Page>> pages_;
    const MergedIndex* below_;
};

/// Describes a layer in the index's table.
void put_layer(Encoder& out, const Uuid& uuid, uint64_t data_end, bool sparse) {
    for (const uint8_t byte : uuid) out.put(byte);
    out.put(data_end);
    out.put(sparse ? kSparseFlag : uint64_t{0});
}
void put_layer(Encoder& out, const LayerInfo& info) {
    put_layer(out, info.uuid, info.data_end(), info.form == LayerForm::kSparse);
}

/// Appends to a file and sums up what it wrote.
class SummedFile {
  public:
    SummedFile(int fd, uint64_t offset) : fd_(fd), offset_(offset) {}

    [[nodiscard]] Status append(std::span<const std::byte> data) {
        crc_ = crc32c(data, crc_);
        TRY(write_exact(fd_, data, offset_));
        offset_ += data.size();
        return ok();
    }
    [[nodiscard]] uint32_t crc() const { return crc_; }

  private:
    int fd_;
    uint64_t offset_;
    uint32_t crc_ = 0;
};

Status check_chain(std::span<const LayerFile> layers) {
    if (layers.empty() || layers.size() > kMaxChainLayers) {
        return Error{ErrorCode::kLimit, fmt::format("a chain of {} layers; 1 to {} are possible",
                                                    layers.size(), kMaxChainLayers)};
    }
    std::optional<ChainId> below;
    for (const LayerFile& layer : layers) {
        const LayerIdentity& identity = layer.info().identity;
        if (identity.parent != below ||
            identity.virtual_blocks != layers[0].info().identity.virtual_blocks) {
            return Error{
                ErrorCode::kInvalid,
                fmt::format("layer file {} doesn't continue the chain below it", layer.name())};
        }
        below = identity.chain_id;
    }
    return ok();
}

/// Writes everything behind the header, then the header.
Status write_index(int fd, MergedIndexHeader header, std::string layer_table,
                   const Painting& painting) {
    std::vector<const std::byte*> pages;
    TRY_ASSIGN(std::vector<uint64_t> table, painting.table(header.virtual_blocks, pages));
    header.page_count = static_cast<uint32_t>(pages.size());
    layer_table.resize(header.table_offset() - kBlock);
    table.resize((header.pages_offset() - header.table_offset()) / sizeof(uint64_t));
    SummedFile file(fd, kBlock);
    TRY(file.append(std::as_bytes(std::span(layer_table))));
    TRY(file.append(std::as_bytes(std::span(table))));
    for (size_t i = 0; i < pages.size();) {
        size_t count = 1;  // pages that were copied lie one after the other
        while (i + count < pages.size() && pages[i + count] == pages[i] + count * kBlock) ++count;
        TRY(file.append({pages[i], count * kBlock}));
        i += count;
    }
    header.body_crc = file.crc();
    const std::string block = encode_merged_index_header(header);
    return write_exact(fd, std::as_bytes(std::span(block)), 0);
}

}  // namespace

Status write_merged_index(int fd, std::span<const LayerFile> layers) {
    TRY(check_chain(layers));
    MergedIndexHeader header;
    header.virtual_blocks = layers[0].info().identity.virtual_blocks;
    header.chain_id = layers.back().info().identity.chain_id;
    header.layer_count = static_cast<uint32_t>(layers.size());
    Painting painting(header.slots());
    Encoder layer_table;
    for (size_t i = 0; i < layers.size(); ++i) {
        for (const LayerExtent& extent : layers[i].extents()) {
            TRY(painting.paint(extent, i));
        }
        put_layer(layer_table, layers[i].info());
    }
    return write_index(fd, header, layer_table.take(), painting);
}

Status extend_merged_index(int fd, const MergedIndex& parent, const LayerInfo& layer,
                           std::span<const LayerExtent> extents) {
    if (layer.identity.parent != parent.chain_id() ||
        layer.identity.virtual_blocks != parent.virtual_blocks()) {
        return Error{ErrorCode::kInvalid, "the layer doesn't continue the index's chain"};
    }
    if (parent.layer_count() == kMaxChainLayers) {
        return Error{ErrorCode::kLimit,
                     fmt::format("a chain of more than {} layers", kMaxChainLayers)};
    }
    MergedIndexHeader header;
    header.virtual_blocks = parent.virtual_blocks();
    header.chain_id = layer.identity.chain_id;
    header.layer_count = parent.layer_count() + 1;
    Painting painting(header.slots(), &parent);
    for (const LayerExtent& extent : extents) {
        TRY(painting.paint(extent, parent.layer_count()));
    }
    Encoder layer_table;
    for (uint32_t i = 0; i < parent.layer_count(); ++i) {
        const MergedIndex::Layer below = parent.layer(i);
        put_layer(layer_table, below.uuid, below.data_end, below.data_begin == 0);
    }
    put_layer(layer_table, layer);
    return write_index(fd, header, layer_table.take(), painting);
}

}  // namespace drupe::imagefs
