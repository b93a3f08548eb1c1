#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "imagefs/store/digest.h"

namespace drupe::imagefs {

class LayerFile;
struct LayerExtent;
struct LayerInfo;

inline constexpr uint32_t kMaxChainLayers = 256;

/// Where each block of a whole chain lies: docs/formats/merged-index.md. A read-only shared mapping
/// of a file, so all machines on one image share its pages; a lookup costs two loads whatever the
/// chain's depth. The file is untrusted: every lookup checks what it read. Its size is checked at
/// open (only a host that truncates it afterwards could cause a SIGBUS). Thread-safe.
class MergedIndex {
  public:
    /// Blocks that lie one after the other in one layer, or blocks that no layer has (zeroes).
    struct Run {
        uint64_t blocks = 0;
        bool present = false;
        uint16_t layer = 0;   ///< 0 is the bottom.
        uint64_t offset = 0;  ///< First block in the layer's file.
    };
    struct Layer {
        Uuid uuid{};
        uint64_t data_begin = 0;  ///< The blocks of the layer's file that have data.
        uint64_t data_end = 0;
    };

    [[nodiscard]] static Result<MergedIndex> open(const Fd& fd, std::string name);
    MergedIndex(MergedIndex&& other) noexcept;
    MergedIndex& operator=(MergedIndex&& other) noexcept;
    ~MergedIndex();

    /// The run that starts at lba, of 1 to max_blocks blocks. lba + max_blocks must not exceed
    /// virtual_blocks() and max_blocks must not be 0 (kInvalid). kCorrupt: an entry is out of
    /// range.
    [[nodiscard]] Result<Run> lookup(uint64_t lba, uint64_t max_blocks) const;

    [[nodiscard]] uint64_t virtual_blocks() const { return virtual_blocks_; }
    [[nodiscard]] const ChainId& chain_id() const { return chain_id_; }
    [[nodiscard]] uint32_t layer_count() const { return layer_count_; }
    [[nodiscard]] Layer layer(uint32_t i) const;  ///< i < layer_count().
    /// The words of level 1 and the pages of level 2, for who derives an index from this one.
    [[nodiscard]] uint64_t slot(uint64_t i) const;
    [[nodiscard]] uint32_t page_count() const { return page_count_; }
    /// kBlock bytes, as they are in the file; i < page_count().
    [[nodiscard]] const std::byte* page(uint32_t i) const;

    /// Checks the CRC32C of the whole body; reads all of it (1/512 of the image's size at most).
    [[nodiscard]] Status verify() const;

  private:
    /// Entries that continue each other within one slot of level 1.
    struct Span {
        uint64_t entry = 0;
        uint64_t blocks = 0;
    };
    static constexpr uint64_t kBadEntry = ~uint64_t{0};  ///< Never a valid layer.

    MergedIndex() = default;
    [[nodiscard]] Span span_at(uint64_t lba, uint64_t max_blocks) const;

    std::string name_;
    const std::byte* base_ = nullptr;
    uint64_t mapped_bytes_ = 0;
    uint64_t virtual_blocks_ = 0;
    ChainId chain_id_;
    uint32_t layer_count_ = 0;
    uint64_t table_offset_ = 0;  ///< Bytes; level 1.
    uint64_t pages_offset_ = 0;  ///< Bytes; level 2.
    uint32_t page_count_ = 0;
    uint32_t body_crc_ = 0;
    struct Bounds {
        uint64_t begin;
        uint64_t end;
    };
    std::vector<Bounds> bounds_;  ///< Of layer(i)'s data, read once.
};

/// Merges a chain, bottom first, into the empty file `fd`. kInvalid: not a chain (each layer's
/// parent must be the one before it, the first has none). Doesn't sync.
[[nodiscard]] Status write_merged_index(int fd, std::span<const LayerFile> layers);
/// The index of `parent`'s chain with one layer more. Only the 2 MiB around the layer's extents are
/// worked out; the rest is copied, at memory's speed. kInvalid: the layer isn't the parent's child.
[[nodiscard]] Status extend_merged_index(int fd, const MergedIndex& parent, const LayerInfo& layer,
                                         std::span<const LayerExtent> extents);

}  // namespace drupe::imagefs
