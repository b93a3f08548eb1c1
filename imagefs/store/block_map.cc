#include "imagefs/store/block_map.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace drupe::imagefs {
namespace {

constexpr uint64_t kBlocksPerWord = 32;
constexpr uint64_t kLowBits = 0x5555555555555555;  // the lower bit of each block's two

uint64_t pattern(BlockState state) {
    return kLowBits * static_cast<uint64_t>(state);
}

/// Two bits for each of `blocks` blocks from `first` on; first + blocks <= 32.
uint64_t mask(uint64_t first, uint64_t blocks) {
    const uint64_t ones = blocks == kBlocksPerWord ? ~uint64_t{0} : (uint64_t{1} << 2 * blocks) - 1;
    return ones << 2 * first;
}

/// How many blocks from position `at` of the chunk on have `state`, at most `max`.
uint64_t run_in_chunk(const BlockMap::Chunk& chunk, uint64_t at, uint64_t max, BlockState state) {
    uint64_t blocks = 0;
    while (blocks < max) {
        const uint64_t position = at + blocks;
        const uint64_t skip = position % kBlocksPerWord;
        const uint64_t differs = (chunk[position / kBlocksPerWord] ^ pattern(state)) >> 2 * skip;
        const uint64_t left = kBlocksPerWord - skip;
        const uint64_t same =
            differs == 0 ? left : std::min<uint64_t>(left, std::countr_zero(differs) / 2);
        blocks += same;
        if (same < left) break;
    }
    return std::min(blocks, max);
}

}  // namespace

BlockMap::BlockMap(uint64_t blocks)
    : blocks_(blocks), chunks_((blocks + kChunkBlocks - 1) / kChunkBlocks) {}

BlockState BlockMap::get(uint64_t lba) const {
    DRUPE_CHECK(lba < blocks_);
    const Chunk* chunk = chunks_[lba / kChunkBlocks].get();
    if (chunk == nullptr) return BlockState::kAbsent;
    const uint64_t at = lba % kChunkBlocks;
    return static_cast<BlockState>((*chunk)[at / kBlocksPerWord] >> 2 * (at % kBlocksPerWord) & 3);
}

BlockMap::Run BlockMap::run(uint64_t lba, uint64_t max_blocks) const {
    DRUPE_CHECK(max_blocks > 0 && lba < blocks_ && max_blocks <= blocks_ - lba);
    Run run{get(lba), 0};
    while (run.blocks < max_blocks) {
        const uint64_t at = (lba + run.blocks) % kChunkBlocks;
        const uint64_t max = std::min(max_blocks - run.blocks, kChunkBlocks - at);
        const Chunk* chunk = chunks_[(lba + run.blocks) / kChunkBlocks].get();
        const uint64_t absent = run.state == BlockState::kAbsent ? max : 0;
        const uint64_t same = chunk == nullptr ? absent : run_in_chunk(*chunk, at, max, run.state);
        run.blocks += same;
        if (same < max) break;
    }
    return run;
}

void BlockMap::set(uint64_t lba, uint64_t blocks, BlockState state) {
    DRUPE_CHECK(lba <= blocks_ && blocks <= blocks_ - lba);
    while (blocks > 0) {
        std::unique_ptr<Chunk>& chunk = chunks_[lba / kChunkBlocks];
        const uint64_t at = lba % kChunkBlocks;
        if (chunk == nullptr && state == BlockState::kAbsent) {
            const uint64_t skipped = std::min(blocks, kChunkBlocks - at);
            lba += skipped;
            blocks -= skipped;
            continue;
        }
        if (chunk == nullptr) chunk = std::make_unique<Chunk>();
        const uint64_t first = at % kBlocksPerWord;
        const uint64_t count = std::min(blocks, kBlocksPerWord - first);
        uint64_t& word = (*chunk)[at / kBlocksPerWord];
        const uint64_t changed = mask(first, count);
        word = (word & ~changed) | (pattern(state) & changed);
        lba += count;
        blocks -= count;
    }
}

uint64_t BlockMap::count(BlockState state) const {
    uint64_t not_absent = 0;
    uint64_t count = 0;
    for (const auto& chunk : chunks_) {
        if (chunk == nullptr) continue;
        for (const uint64_t word : *chunk) {
            const uint64_t differs = word ^ pattern(state);
            not_absent += static_cast<uint64_t>(std::popcount((word | word >> 1) & kLowBits));
            count += static_cast<uint64_t>(std::popcount(~(differs | differs >> 1) & kLowBits));
        }
    }
    return state == BlockState::kAbsent ? blocks_ - not_absent : count;
}

void BlockMap::set_chunk(size_t i, const Chunk& states) {
    DRUPE_CHECK(i < chunks_.size());
    chunks_[i] = std::make_unique<Chunk>(states);
}

}  // namespace drupe::imagefs
