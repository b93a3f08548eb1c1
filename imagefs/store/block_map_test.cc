#include "imagefs/store/block_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace drupe::imagefs {
namespace {

TEST(BlockMap, AllocatesOnlyChunksThatHoldSomething) {
    BlockMap map(uint64_t{1} << 24);  // 64 GiB
    EXPECT_EQ(map.chunk_count(), 1024U);
    map.set(0, map.blocks(), BlockState::kAbsent);
    for (size_t i = 0; i < map.chunk_count(); ++i) EXPECT_EQ(map.chunk(i), nullptr);
    map.set(20000, 1, BlockState::kData);
    EXPECT_EQ(map.chunk(0), nullptr);
    EXPECT_NE(map.chunk(1), nullptr);
}

TEST(BlockMap, RunsCrossWordsAndChunks) {
    BlockMap map(3 * BlockMap::kChunkBlocks + 5);
    map.set(31, 2 * BlockMap::kChunkBlocks, BlockState::kData);
    const BlockMap::Run before = map.run(0, map.blocks());
    EXPECT_EQ(before.state, BlockState::kAbsent);
    EXPECT_EQ(before.blocks, 31U);
    const BlockMap::Run data = map.run(31, map.blocks() - 31);
    EXPECT_EQ(data.state, BlockState::kData);
    EXPECT_EQ(data.blocks, 2 * BlockMap::kChunkBlocks);
    const uint64_t after = 31 + 2 * BlockMap::kChunkBlocks;
    EXPECT_EQ(map.run(after, map.blocks() - after).blocks, map.blocks() - after);
    EXPECT_EQ(map.count(BlockState::kData), 2 * BlockMap::kChunkBlocks);
    EXPECT_EQ(map.count(BlockState::kAbsent), map.blocks() - 2 * BlockMap::kChunkBlocks);
}

TEST(BlockMap, BehavesLikeAVector) {
    constexpr uint64_t kBlocks = 2 * BlockMap::kChunkBlocks + 77;
    std::mt19937_64 random(7);
    BlockMap map(kBlocks);
    std::vector<BlockState> model(kBlocks, BlockState::kAbsent);
    for (int step = 0; step < 2000; ++step) {
        const uint64_t lba = random() % kBlocks;
        const uint64_t max =
            random() % 3 == 0 ? kBlocks - lba : std::min<uint64_t>(200, kBlocks - lba);
        const uint64_t blocks = 1 + random() % max;
        if (random() % 2 == 0) {
            const auto state = static_cast<BlockState>(random() % 4);
            map.set(lba, blocks, state);
            std::fill_n(model.begin() + static_cast<ptrdiff_t>(lba), blocks, state);
        } else {
            const BlockMap::Run run = map.run(lba, blocks);
            uint64_t expected = 1;
            while (expected < blocks && model[lba + expected] == model[lba]) ++expected;
            ASSERT_EQ(run.state, model[lba]);
            ASSERT_EQ(run.blocks, expected);
        }
    }
    for (const auto state : {BlockState::kAbsent, BlockState::kData, BlockState::kZero}) {
        EXPECT_EQ(map.count(state),
                  static_cast<uint64_t>(std::count(model.begin(), model.end(), state)));
    }
}

}  // namespace
}  // namespace drupe::imagefs
