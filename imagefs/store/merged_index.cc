#include "imagefs/store/merged_index.h"

#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "imagefs/store/layer_format.h"
#include "imagefs/store/merged_index_format.h"

namespace drupe::imagefs {
namespace {

constexpr std::string_view kMagic = "DRUPEIDX";
constexpr uint32_t kVersion = 1;

Error bad(std::string_view name, std::string what) {
    return Error{ErrorCode::kCorrupt, fmt::format("merged index {}: {}", name, what)};
}

/// One load: the value that is checked is the value that is used.
uint64_t load(const std::byte* at) {
    return std::atomic_ref(*reinterpret_cast<uint64_t*>(const_cast<std::byte*>(at)))
        .load(std::memory_order_relaxed);
}

}  // namespace

uint64_t MergedIndexHeader::table_offset() const {
    return kBlock + round_up_to_block(layer_count * kIndexLayerBytes);
}
uint64_t MergedIndexHeader::pages_offset() const {
    return table_offset() + round_up_to_block(slots() * sizeof(uint64_t));
}
uint64_t MergedIndexHeader::file_bytes() const {
    return pages_offset() + page_count * kBlock;
}

std::string encode_merged_index_header(const MergedIndexHeader& header) {
    Encoder out;
    out.put_raw(kMagic);
    out.put(kVersion);
    out.put(uint32_t{0});  // compat flags
    out.put(uint32_t{0});  // incompat flags
    out.put(static_cast<uint32_t>(kBlock));
    out.put(header.virtual_blocks);
    for (const uint8_t byte : header.chain_id.bytes) out.put(byte);
    out.put(header.layer_count);
    out.put(header.page_count);
    out.put(header.body_crc);
    return seal_block(out.take());
}

Result<MergedIndexHeader> decode_merged_index_header(std::string_view block,
                                                     std::string_view name) {
    if (block.substr(0, kMagic.size()) != kMagic) return bad(name, "no index's magic number");
    if (!block_is_sealed(block)) return bad(name, "the header's checksum is wrong");
    Decoder in(block.substr(kMagic.size()));
    const auto version = in.get<uint32_t>();
    (void)in.get<uint32_t>();  // compat flags: unknown ones don't matter
    const auto incompat = in.get<uint32_t>();
    if (version != kVersion || incompat != 0) {
        return Error{ErrorCode::kUnsupported,
                     fmt::format("merged index {}: format version {} with incompat flags {:#x}; "
                                 "this build reads version {} without",
                                 name, version, incompat, kVersion)};
    }
    const auto block_size = in.get<uint32_t>();
    MergedIndexHeader header;
    header.virtual_blocks = in.get<uint64_t>();
    for (uint8_t& byte : header.chain_id.bytes) byte = in.get<uint8_t>();
    header.layer_count = in.get<uint32_t>();
    header.page_count = in.get<uint32_t>();
    header.body_crc = in.get<uint32_t>();
    if (block_size != kBlock) return bad(name, fmt::format("block size {}", block_size));
    if (header.virtual_blocks == 0 || header.virtual_blocks > kMaxVirtualBlocks) {
        return bad(name, fmt::format("a disk of {} blocks", header.virtual_blocks));
    }
    if (header.layer_count == 0 || header.layer_count > kMaxChainLayers) {
        return bad(name, fmt::format("{} layers", header.layer_count));
    }
    if (header.page_count > header.slots()) {
        return bad(name, fmt::format("{} pages", header.page_count));
    }
    return header;
}

Result<MergedIndex> MergedIndex::open(const Fd& fd, std::string name) {
    struct stat st {};
    if (::fstat(fd.get(), &st) < 0) return os_error(fmt::format("merged index {}: fstat", name));
    const auto size = static_cast<uint64_t>(st.st_size);
    if (size < kBlock) return bad(name, "too short");
    std::string block(kBlock, '\0');
    TRY(read_exact(fd.get(), std::as_writable_bytes(std::span(block)), 0));
    TRY_ASSIGN(const MergedIndexHeader header, decode_merged_index_header(block, name));
    if (size != header.file_bytes()) {
        return bad(name, fmt::format("{} bytes long instead of {}", size, header.file_bytes()));
    }
    void* base = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
    if (base == MAP_FAILED) return os_error(fmt::format("merged index {}: mmap", name));
    MergedIndex index;
    index.name_ = std::move(name);
    index.base_ = static_cast<const std::byte*>(base);
    index.mapped_bytes_ = size;
    index.virtual_blocks_ = header.virtual_blocks;
    index.chain_id_ = header.chain_id;
    index.layer_count_ = header.layer_count;
    index.table_offset_ = header.table_offset();
    index.pages_offset_ = header.pages_offset();
    index.page_count_ = header.page_count;
    index.body_crc_ = header.body_crc;
    for (uint32_t i = 0; i < index.layer_count_; ++i) {
        const Layer layer = index.layer(i);
        index.bounds_.push_back({layer.data_begin, layer.data_end});
        // Entry 0 means that there is nothing: the bottom has no data in its block 0.
        if (layer.data_end > kOffsetMask || layer.data_begin + i == 0) {
            return bad(index.name_, fmt::format("the size of layer {} is out of range", i));
        }
    }
    return index;
}

MergedIndex::MergedIndex(MergedIndex&& other) noexcept {
    *this = std::move(other);
}

MergedIndex& MergedIndex::operator=(MergedIndex&& other) noexcept {
    if (this == &other) return *this;
    if (base_ != nullptr) ::munmap(const_cast<std::byte*>(base_), mapped_bytes_);
    name_ = std::move(other.name_);
    base_ = std::exchange(other.base_, nullptr);
    mapped_bytes_ = other.mapped_bytes_;
    virtual_blocks_ = other.virtual_blocks_;
    chain_id_ = other.chain_id_;
    layer_count_ = other.layer_count_;
    table_offset_ = other.table_offset_;
    pages_offset_ = other.pages_offset_;
    page_count_ = other.page_count_;
    body_crc_ = other.body_crc_;
    bounds_ = std::move(other.bounds_);
    return *this;
}

MergedIndex::~MergedIndex() {
    if (base_ != nullptr) ::munmap(const_cast<std::byte*>(base_), mapped_bytes_);
}

MergedIndex::Layer MergedIndex::layer(uint32_t i) const {
    DRUPE_CHECK(i < layer_count_);
    const std::byte* const at = base_ + kBlock + i * kIndexLayerBytes;
    Layer layer;
    std::memcpy(layer.uuid.data(), at, layer.uuid.size());
    layer.data_end = load(at + layer.uuid.size());
    layer.data_begin = load(at + layer.uuid.size() + sizeof(uint64_t)) == kSparseFlag ? 0 : 1;
    return layer;
}

uint64_t MergedIndex::slot(uint64_t i) const {
    DRUPE_CHECK(i < (virtual_blocks_ + kBlocksPerPage - 1) / kBlocksPerPage);
    return load(base_ + table_offset_ + i * sizeof(uint64_t));
}

const std::byte* MergedIndex::page(uint32_t i) const {
    DRUPE_CHECK(i < page_count_);
    return base_ + pages_offset_ + uint64_t{i} * kBlock;
}

MergedIndex::Span MergedIndex::span_at(uint64_t lba, uint64_t max_blocks) const {
    const uint64_t position = lba % kBlocksPerPage;
    const uint64_t max = std::min(max_blocks, kBlocksPerPage - position);
    const uint64_t slot = load(base_ + table_offset_ + lba / kBlocksPerPage * sizeof(uint64_t));
    if (slot == 0) return {0, max};
    if (slot >> 48 != kPageTag) return {slot + position, max};
    const uint64_t page = slot & kOffsetMask;
    if (page >= page_count_) return {kBadEntry, max};
    const std::byte* const entries = base_ + pages_offset_ + page * kBlock;
    const uint64_t first = load(entries + position * sizeof(uint64_t));
    uint64_t blocks = 1;
    while (blocks < max) {
        const uint64_t next = load(entries + (position + blocks) * sizeof(uint64_t));
        if (next != (first == 0 ? 0 : first + blocks)) break;
        ++blocks;
    }
    return {first, blocks};
}

Result<MergedIndex::Run> MergedIndex::lookup(uint64_t lba, uint64_t max_blocks) const {
    if (max_blocks == 0 || lba >= virtual_blocks_ || max_blocks > virtual_blocks_ - lba) {
        return Error{ErrorCode::kInvalid, fmt::format("{} blocks at {} are outside a disk of {}",
                                                      max_blocks, lba, virtual_blocks_)};
    }
    const Span first = span_at(lba, max_blocks);
    uint64_t blocks = first.blocks;
    // A run may go on in the next slots.
    while (blocks < max_blocks && (lba + blocks) % kBlocksPerPage == 0) {
        const Span next = span_at(lba + blocks, max_blocks - blocks);
        if (next.entry != (first.entry == 0 ? 0 : first.entry + blocks)) break;
        blocks += next.blocks;
    }
    if (first.entry == 0) return Run{blocks, false, 0, 0};
    const uint64_t layer = first.entry >> 48;
    const uint64_t offset = first.entry & kOffsetMask;
    if (layer >= layer_count_ || offset < bounds_[layer].begin || offset >= bounds_[layer].end ||
        blocks > bounds_[layer].end - offset) {
        return bad(name_,
                   fmt::format("the entry of block {} ({:#x}) is out of range", lba, first.entry));
    }
    return Run{blocks, true, static_cast<uint16_t>(layer), offset};
}

Status MergedIndex::verify() const {
    const uint32_t crc = crc32c({base_ + kBlock, mapped_bytes_ - kBlock});
    if (crc != body_crc_) return bad(name_, "the body's checksum is wrong");
    return ok();
}

}  // namespace drupe::imagefs
