#include "imagefs/store/merged_index.h"

#include <algorithm>
#include <map>
#include <random>

#include "base/crc32c.h"
#include "imagefs/store/layer_format.h"
#include "imagefs/store/merged_index_format.h"
#include "imagefs/store/test_support.h"

namespace drupe::imagefs {
namespace {

using test::content_of;
using test::make_index;
using test::make_layer;
using test::memory_file;
using test::value_of;

MergedIndex open_index(const Fd& fd) {
    return value_of(MergedIndex::open(fd, "chain.index"));
}

std::vector<LayerFile> three_layers(uint64_t blocks) {
    std::vector<LayerFile> layers;
    std::vector<test::LayerBlock> whole;
    for (uint64_t lba = 0; lba < std::min<uint64_t>(blocks, 1100); ++lba) whole.push_back({lba, 9});
    layers.push_back(make_layer(1, blocks, whole));
    layers.push_back(make_layer(2, blocks, {{5, 10}, {6, 0}, {7, 0}, {600, 11}}));
    layers.push_back(make_layer(3, blocks, {{5, 12}, {7, 13}, {blocks - 1, 14}}));
    return layers;
}

TEST(MergedIndex, LaterLayersWinAndMarksHideDataBelow) {
    const std::vector<LayerFile> layers = three_layers(2000);
    const Fd fd = make_index(layers);
    const MergedIndex index = open_index(fd);
    EXPECT_OK(index.verify());
    EXPECT_EQ(index.layer_count(), 3U);
    EXPECT_EQ(index.virtual_blocks(), 2000U);
    EXPECT_EQ(index.chain_id(), test::digest_number(3));
    EXPECT_EQ(index.layer(1).uuid, layers[1].info().uuid);

    MergedIndex::Run run = value_of(index.lookup(0, 2000));
    EXPECT_TRUE(run.present);
    EXPECT_EQ(run.layer, 0);
    EXPECT_EQ(run.offset, 1U);
    EXPECT_EQ(run.blocks, 5U);
    run = value_of(index.lookup(5, 10));
    EXPECT_EQ(run.layer, 2);
    EXPECT_EQ(run.blocks, 1U);
    EXPECT_FALSE(value_of(index.lookup(6, 1)).present);
    EXPECT_EQ(value_of(index.lookup(7, 1)).layer, 2);
    EXPECT_EQ(value_of(index.lookup(1999, 1)).layer, 2);
    EXPECT_FALSE(value_of(index.lookup(1100, 1)).present);
}

TEST(MergedIndex, RunsCrossSlotsInOneAnswer) {
    const std::vector<LayerFile> layers = three_layers(100000);
    const Fd fd = make_index(layers);
    const MergedIndex index = open_index(fd);
    EXPECT_EQ(value_of(index.lookup(8, 2000)).blocks, 592U);  // to block 600, over one border
    EXPECT_EQ(value_of(index.lookup(601, 2000)).blocks, 499U);
    const MergedIndex::Run hole = value_of(index.lookup(1100, 98000));
    EXPECT_FALSE(hole.present);
    EXPECT_EQ(hole.blocks, 98000U);
    EXPECT_EQ(value_of(index.lookup(1100, 98899)).blocks, 98899U);
    EXPECT_EQ(value_of(index.lookup(8, 3)).blocks, 3U);
}

TEST(MergedIndex, WholeSlotsOfOneLayerNeedNoPage) {
    std::vector<test::LayerBlock> blocks;
    for (uint64_t lba = 100; lba < 1700; ++lba) blocks.push_back({lba, 1});
    std::vector<LayerFile> layers;
    layers.push_back(make_layer(1, 1700, blocks));  // the last slot is 164 blocks long
    const Fd fd = make_index(layers);
    EXPECT_EQ(content_of(fd.get()).size(), 3 * 4096U + 4096U);  // only slot 0 has one
    const MergedIndex index = open_index(fd);
    for (const uint64_t lba : {uint64_t{100}, uint64_t{511}, uint64_t{512}, uint64_t{513},
                               uint64_t{1023}, uint64_t{1024}, uint64_t{1536}, uint64_t{1699}}) {
        const MergedIndex::Run run = value_of(index.lookup(lba, 1700 - lba));
        EXPECT_EQ(run.offset, 1 + lba - 100);
        EXPECT_EQ(run.blocks, 1700 - lba);
    }
}

TEST(MergedIndex, SizeFollowsTheImageAndNotTheDisk) {
    std::vector<LayerFile> layers;
    layers.push_back(make_layer(1, uint64_t{1} << 24, {{0, 1}, {uint64_t{1} << 20, 2}}));
    const Fd fd = make_index(layers);
    EXPECT_EQ(content_of(fd.get()).size(), 2 * 4096U + 32768U * 8 + 2 * 4096U);
}

TEST(MergedIndex, BehavesLikePaintingBlockByBlock) {
    constexpr uint64_t kBlocks = 3000;
    std::mt19937_64 random(3);
    std::vector<LayerFile> layers;
    std::map<uint64_t, std::pair<int, uint64_t>> model;  // lba -> layer, offset
    for (uint8_t number = 1; number <= 12; ++number) {
        std::vector<test::LayerBlock> blocks;
        uint64_t offset = 1;
        for (uint64_t lba = random() % 50; lba < kBlocks;
             lba += 1 + (random() % 3) * (random() % 40)) {
            const bool zero = random() % 5 == 0;
            blocks.push_back({lba, zero ? 0 : random() | 1});
            if (zero) {
                model.erase(lba);
            } else {
                model[lba] = {number - 1, offset++};
            }
        }
        layers.push_back(make_layer(number, kBlocks, blocks));
    }
    const Fd fd = make_index(layers);
    const MergedIndex index = open_index(fd);
    for (uint64_t lba = 0; lba < kBlocks;) {
        const MergedIndex::Run run = value_of(index.lookup(lba, kBlocks - lba));
        for (uint64_t i = 0; i < run.blocks; ++i) {
            const auto it = model.find(lba + i);
            ASSERT_EQ(it != model.end(), run.present) << "block " << lba + i;
            if (!run.present) continue;
            ASSERT_EQ(it->second.first, run.layer) << "block " << lba + i;
            ASSERT_EQ(it->second.second, run.offset + i) << "block " << lba + i;
        }
        lba += run.blocks;
    }
}

TEST(MergedIndex, OutsideTheDiskIsRefused) {
    const std::vector<LayerFile> layers = three_layers(2000);
    const Fd fd = make_index(layers);
    const MergedIndex index = open_index(fd);
    EXPECT_FAILS(index.lookup(2000, 1), kInvalid, "outside");
    EXPECT_FAILS(index.lookup(1999, 2), kInvalid, "outside");
    EXPECT_FAILS(index.lookup(1, UINT64_MAX), kInvalid, "outside");
    EXPECT_FAILS(index.lookup(0, 0), kInvalid, "outside");
}

TEST(MergedIndex, LayersThatAreNoChainAreNotMerged) {
    std::vector<LayerFile> layers = three_layers(2000);
    std::swap(layers[0], layers[1]);
    EXPECT_FAILS(write_merged_index(memory_file().get(), layers), kInvalid, "continue the chain");
    EXPECT_FAILS(write_merged_index(memory_file().get(), {}), kLimit, "0 layers");
    std::vector<LayerFile> sizes;
    sizes.push_back(make_layer(1, 100, {}));
    sizes.push_back(make_layer(2, 200, {}));
    EXPECT_FAILS(write_merged_index(memory_file().get(), sizes), kInvalid, "continue the chain");
}

TEST(MergedIndex, DamagedHeadersAreRefused) {
    const Fd fd = make_index(three_layers(2000));
    const std::string good = content_of(fd.get());
    const auto open = [](const std::string& bytes) {
        return MergedIndex::open(memory_file(bytes), "chain.index");
    };
    EXPECT_FAILS(open(""), kCorrupt, "chain.index: too short");
    EXPECT_FAILS(open(std::string(8192, 'x')), kCorrupt, "magic");
    EXPECT_FAILS(open(good.substr(0, good.size() - 1)), kCorrupt, "bytes long instead of");
    std::string bad = good;
    bad[40] ^= 1;
    EXPECT_FAILS(open(bad), kCorrupt, "header's checksum");
    MergedIndexHeader header =
        value_of(decode_merged_index_header(std::string_view(good).substr(0, 4096), "good"));
    const auto with = [&](const MergedIndexHeader& changed) {
        return encode_merged_index_header(changed) + good.substr(4096);
    };
    MergedIndexHeader changed = header;
    changed.page_count = 1000000;
    EXPECT_FAILS(open(with(changed)), kCorrupt, "1000000 pages");
    changed = header;
    changed.layer_count = 257;
    EXPECT_FAILS(open(with(changed)), kCorrupt, "257 layers");
    changed = header;
    changed.virtual_blocks = UINT64_MAX;
    EXPECT_FAILS(open(with(changed)), kCorrupt, "a disk of");
    bad = good;
    bad[good.size() - 5] ^= 1;
    EXPECT_FAILS(value_of(open(bad)).verify(), kCorrupt, "body's checksum");
}

TEST(MergedIndex, EntriesOutOfRangeAreErrorsAndNoReads) {
    const Fd fd = make_index(three_layers(2000));
    const std::string good = content_of(fd.get());
    const MergedIndexHeader header =
        value_of(decode_merged_index_header(std::string_view(good).substr(0, 4096), "good"));
    const auto lookup_with = [&](uint64_t at, uint64_t entry, uint64_t lba) {
        std::string bad = good;
        std::memcpy(bad.data() + at, &entry, sizeof entry);
        const Fd file = memory_file(bad);
        return open_index(file).lookup(lba, 4);
    };
    const uint64_t level1 = header.table_offset();
    const uint64_t page = header.pages_offset();
    for (const uint64_t entry :
         {uint64_t{0xFFFF} << 48 | header.page_count, uint64_t{0xFFFF} << 48 | kOffsetMask,
          uint64_t{3} << 48 | 1, uint64_t{0xFFFE} << 48 | 1, uint64_t{1} << 48,
          uint64_t{2} << 48 | kOffsetMask, uint64_t{4} << 46, ~uint64_t{0}}) {
        EXPECT_FAILS(lookup_with(level1, entry, 0), kCorrupt, "out of range");
    }
    for (const uint64_t entry : {uint64_t{3} << 48 | 1, uint64_t{1} << 48, uint64_t{1} << 48 | 4,
                                 ~uint64_t{0}, kOffsetMask, uint64_t{0xFFFF} << 48}) {
        EXPECT_FAILS(lookup_with(page, entry, 0), kCorrupt, "out of range");
    }
}

}  // namespace
}  // namespace drupe::imagefs
