#include "imagefs/ext4/file_content.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <optional>

namespace drupe::imagefs::ext4 {
namespace {

constexpr size_t kBlockSize = BlockDevice::kBlockSize;
constexpr size_t kChunk = 1 << 20;
/// Shorter runs of zeroes are stored: a hole costs an extent, and a guest that writes into it an
/// allocation.
constexpr size_t kMinHole = 16 * kBlockSize;

bool all_zero(std::span<const std::byte> data) {
    return data.front() == std::byte{0} &&
           std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0;
}

/// The length of the run of zero blocks that data starts with.
size_t zero_run(std::span<const std::byte> data) {
    size_t length = 0;
    while (length < data.size() && all_zero(data.subspan(length, kBlockSize))) {
        length += kBlockSize;
    }
    return length;
}

/// How much of data comes before the next hole.
size_t data_run(std::span<const std::byte> data) {
    size_t at = 0;
    while (at < data.size()) {
        const size_t zeroes = zero_run(data.subspan(at));
        if (zeroes >= kMinHole) break;
        at += std::max(zeroes, kBlockSize);
    }
    return at;
}

}  // namespace

/// A file's content as chunks of whole blocks at multiples of the chunk size; gaps inside a chunk
/// and the rest of the last block are zeroed. Chunks that lie in a gap as a whole are left out,
/// unless `all` is set.
class ContentWriter::Chunks {
  public:
    Chunks(ContentReader& content, uint64_t size, bool all, std::vector<std::byte>& buffer)
        : content_(content), size_(size), all_(all), buffer_(buffer) {}

    struct Chunk {
        uint64_t offset = 0;
        std::span<const std::byte> data;
    };

    Result<std::optional<Chunk>> next() {
        TRY(pull());
        if (piece_.data.empty() && !(all_ && start_ < size_)) return std::optional<Chunk>();
        if (!all_) start_ = piece_.offset / kChunk * kChunk;
        const uint64_t end = start_ + kChunk;
        size_t filled = 0;
        while (!piece_.data.empty() && piece_.offset < end) {
            const auto at = static_cast<size_t>(piece_.offset - start_);
            zero(filled, at);
            const size_t count = std::min<size_t>(piece_.data.size(), kChunk - at);
            std::memcpy(buffer_.data() + at, piece_.data.data(), count);
            filled = at + count;
            piece_.offset += count;
            piece_.data = piece_.data.subspan(count);
            TRY(pull());
        }
        if (all_) {
            const auto rest = static_cast<size_t>(std::min<uint64_t>(kChunk, size_ - start_));
            zero(filled, rest);
            filled = rest;
        }
        const size_t whole = (filled + kBlockSize - 1) / kBlockSize * kBlockSize;
        zero(filled, whole);
        const Chunk chunk{start_, std::span(buffer_).first(whole)};
        start_ = end;
        return std::optional<Chunk>(chunk);
    }

  private:
    /// Makes piece_ non-empty, or leaves it empty at the end.
    Status pull() {
        if (!piece_.data.empty() || at_end_) return ok();
        TRY_ASSIGN(piece_, content_.next());
        if (piece_.data.empty()) {
            at_end_ = true;
            return ok();
        }
        if (piece_.offset < position_ || piece_.offset > size_ ||
            piece_.data.size() > size_ - piece_.offset) {
            return Error{ErrorCode::kInvalid,
                         fmt::format("content at {} lies outside its {} bytes or goes back",
                                     piece_.offset, size_)};
        }
        position_ = piece_.offset + piece_.data.size();
        return ok();
    }
    void zero(size_t from, size_t to) {
        if (to > from) std::memset(buffer_.data() + from, 0, to - from);
    }

    ContentReader& content_;
    uint64_t size_;
    bool all_;
    std::vector<std::byte>& buffer_;
    ContentPiece piece_;
    uint64_t position_ = 0;
    uint64_t start_ = 0;
    bool at_end_ = false;
};

ContentWriter::ContentWriter(const Filesystem& fs) : fs_(fs), buffer_(kChunk), old_(kChunk) {}

Status ContentWriter::write(ext2_ino_t ino, Inode& inode, uint64_t size, ContentReader& content) {
    Chunks chunks(content, size, false, buffer_);
    while (true) {
        TRY_ASSIGN(const auto chunk, chunks.next());
        if (!chunk) return ok();
        bytes_ += chunk->data.size();
        for (size_t at = 0; at < chunk->data.size();) {
            const auto rest = chunk->data.subspan(at);
            const size_t hole = zero_run(rest);
            if (hole >= kMinHole) {
                at += hole;
                continue;
            }
            const size_t length = data_run(rest);
            TRY(write_run(ino, inode, (chunk->offset + at) / kBlockSize, rest.first(length)));
            at += length;
        }
    }
}

Result<uint64_t> ContentWriter::place_of(ext2_ino_t ino, Inode& inode, uint64_t logical) const {
    blk64_t place = 0;
    int flags = 0;
    TRY(check_ext2(ext2fs_bmap2(fs_.get(), ino, reinterpret_cast<ext2_inode*>(&inode), nullptr, 0,
                                logical, &flags, &place),
                   "look up a block"));
    if (place == 0) return Error{ErrorCode::kInternal, "a block that was allocated is missing"};
    return place;
}

Status ContentWriter::write_run(ext2_ino_t ino, Inode& inode, uint64_t first,
                                std::span<const std::byte> data) {
    TRY(fs_.allocate_blocks(ino, inode, goal_, first, data.size() / kBlockSize));
    for (size_t done = 0; done < data.size();) {
        const uint64_t logical = first + done / kBlockSize;
        const size_t rest = (data.size() - done) / kBlockSize;
        TRY_ASSIGN(const uint64_t place, place_of(ino, inode, logical));
        size_t count = 1;
        if (rest > 1) {
            // Nearly always one run: ask for its end first.
            TRY_ASSIGN(uint64_t last, place_of(ino, inode, logical + rest - 1));
            if (last == place + rest - 1) {
                count = rest;
            } else {
                while (count < rest) {
                    TRY_ASSIGN(last, place_of(ino, inode, logical + count));
                    if (last != place + count) break;
                    ++count;
                }
            }
        }
        TRY(fs_.write_blocks(place, data.subspan(done, count * kBlockSize)));
        goal_ = place + count;
        done += count * kBlockSize;
    }
    return ok();
}

bool ContentWriter::can_rewrite(ext2_ino_t ino, Inode& inode) const {
    const auto map = fs_.extents(ino, inode);
    return map && std::none_of(map.value().begin(), map.value().end(),
                               [](const Extent& extent) { return extent.unwritten; });
}

Status ContentWriter::rewrite(ext2_ino_t ino, Inode& inode, uint64_t size, ContentReader& content) {
    TRY_ASSIGN(const std::vector<Extent> map, fs_.extents(ino, inode));
    Chunks chunks(content, size, true, buffer_);
    while (true) {
        TRY_ASSIGN(const auto chunk, chunks.next());
        if (!chunk) return ok();
        bytes_ += chunk->data.size();
        TRY(rewrite_chunk(ino, inode, map, chunk->offset / kBlockSize, chunk->data));
    }
}

Status ContentWriter::rewrite_chunk(ext2_ino_t ino, Inode& inode, const std::vector<Extent>& map,
                                    uint64_t first, std::span<const std::byte> data) {
    const uint64_t end = first + data.size() / kBlockSize;
    auto extent =
        std::upper_bound(map.begin(), map.end(), first,
                         [](uint64_t block, const auto& e) { return block < e.logical + e.count; });
    for (uint64_t at = first; at < end;) {
        const auto here = data.subspan((at - first) * kBlockSize);
        if (extent == map.end() || at < extent->logical) {  // A hole in the old file.
            const uint64_t until = extent == map.end() ? end : std::min(end, extent->logical);
            for (; at < until; ++at) {
                const auto block = data.subspan((at - first) * kBlockSize, kBlockSize);
                if (!all_zero(block)) {
                    TRY(write_run(ino, inode, at, block));
                }
            }
            continue;
        }
        const uint64_t count = std::min(end, extent->logical + extent->count) - at;
        const uint64_t place = extent->physical + (at - extent->logical);
        const auto old = std::span(old_).first(count * kBlockSize);
        TRY(fs_.read_blocks(place, old));
        for (uint64_t i = 0; i < count; ++i) {
            const auto block = here.subspan(i * kBlockSize, kBlockSize);
            if (std::memcmp(block.data(), old.data() + i * kBlockSize, kBlockSize) != 0) {
                TRY(fs_.write_blocks(place + i, block));
            }
        }
        at += count;
        if (at == extent->logical + extent->count) ++extent;
    }
    return ok();
}

}  // namespace drupe::imagefs::ext4
