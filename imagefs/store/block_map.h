#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace drupe::imagefs {

enum class BlockState : uint8_t {
    kAbsent = 0,       ///< The parent's.
    kData = 1,         ///< In the top's file.
    kZero = 2,         ///< Zeroes: the mark is durable, the file has a hole.
    kZeroPending = 3,  ///< Zeroes: the mark isn't durable yet, the file may still hold old data.
};

/// Two bits for each block of a disk. Memory is allocated in chunks of 4 KiB (64 MiB of disk) where
/// a block isn't kAbsent. Ranges must lie inside the disk.
class BlockMap {
  public:
    static constexpr uint64_t kChunkBlocks = 16384;
    static constexpr size_t kChunkWords = kChunkBlocks / 32;
    using Chunk =
        std::array<uint64_t, kChunkWords>;  ///< Block i: bits 2i.. of the little-endian array.
    struct Run {
        BlockState state = BlockState::kAbsent;
        uint64_t blocks = 0;
    };

    explicit BlockMap(uint64_t blocks);

    [[nodiscard]] uint64_t blocks() const { return blocks_; }
    [[nodiscard]] BlockState get(uint64_t lba) const;
    /// The longest run of one state from lba on, at most max_blocks (at least 1).
    [[nodiscard]] Run run(uint64_t lba, uint64_t max_blocks) const;
    void set(uint64_t lba, uint64_t blocks, BlockState state);
    [[nodiscard]] uint64_t count(BlockState state) const;

    [[nodiscard]] size_t chunk_count() const { return chunks_.size(); }
    /// nullptr: all kAbsent.
    [[nodiscard]] const Chunk* chunk(size_t i) const { return chunks_[i].get(); }
    /// Bits past the disk's end must be 0.
    void set_chunk(size_t i, const Chunk& states);

  private:
    uint64_t blocks_;
    std::vector<std::unique_ptr<Chunk>> chunks_;
};

}  // namespace drupe::imagefs
