#include <sys/stat.h>

#include <cstdlib>
#include <fstream>

#include "imagefs/store/sha256.h"
#include "imagefs/store/store.h"
#include "imagefs/store/test_support.h"

namespace drupe::imagefs {
namespace {

using test::read_stamp;
using test::stamped;
using test::TempDir;
using test::value_of;
using test::write_stamp;

constexpr uint64_t kBlocks = 2048;

class PackTest : public ::testing::Test {
  protected:
    PackTest() : store_(value_of(Store::open(root()))) {
        LayerBuilder builder = value_of(store_.begin_root(kBlocks));
        for (uint64_t lba = 0; lba < 10; ++lba) {
            EXPECT_OK(builder.write(lba, 1, stamped(100 + lba).data()));
        }
        EXPECT_OK(store_.publish_root(std::move(builder), base_));
    }

    [[nodiscard]] std::string root() const { return dir_.file("store"); }
    [[nodiscard]] std::string layer(const ChainId& id) const {
        return root() + "/layers/" + id.hex();
    }
    std::unique_ptr<LayeredDisk> open(DiskFiles files) {
        return value_of(LayeredDisk::open(std::move(files)));
    }
    std::unique_ptr<LayeredDisk> open(const ChainId& id) {
        return open(value_of(store_.open_chain(id)));
    }
    ChainId seal(const std::vector<std::pair<uint64_t, uint64_t>>& writes) {
        {
            const auto disk = open(value_of(store_.open_top("box")));
            for (const auto& [lba, stamp] : writes) EXPECT_OK(write_stamp(*disk, lba, stamp));
            EXPECT_OK(disk->close());
        }
        return value_of(store_.seal_top("box")).chain_id;
    }
    ChainId publish(const ChainId& parent, std::string_view name, uint64_t lba, uint64_t stamp) {
        LayerBuilder builder = value_of(store_.begin_layer(parent));
        EXPECT_OK(builder.write(lba, 1, stamped(stamp).data()));
        return value_of(store_.publish_layer(std::move(builder), sha256(name)));
    }
    void put(std::string_view config, const ChainId& chain_id) {
        Image image;
        image.id = sha256(config);
        image.config = config;
        image.chain_id = chain_id;
        ASSERT_OK(store_.put_image(image));
        ASSERT_OK(store_.tag(config, image.id));
    }
    static void flip(const std::string& path, int64_t at) {
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
        file.seekg(at);
        const int byte = file.get();
        file.seekp(at);
        file.put(static_cast<char>(byte ^ 1));
    }
    VerifyReport verify() {
        return value_of(
            store_.verify_all([](uint64_t done, uint64_t total) { EXPECT_LE(done, total); }));
    }

    TempDir dir_{true};
    ChainId base_ = root_chain_id("test/1");
    Store store_;
};

TEST_F(PackTest, APackedTopIsTheSameDiskWithoutWhatItsParentHas) {
    (void)value_of(store_.create_top("box", base_));
    const ChainId id = seal({{0, 7}, {1, 101}, {2, 0}, {700, 8}, {701, 0}});  // 1: as the parent's
    const auto before = open(id);  // a machine that goes on with the old file
    ASSERT_OK(store_.pack(id));
    const LayerFile packed = value_of(store_.open_layer_file(id));
    EXPECT_EQ(packed.info().form, LayerForm::kPacked);
    EXPECT_EQ(packed.info().data_blocks, 2U);
    EXPECT_EQ(packed.info().extent_count, 3U) << "data, a zero block, data";
    EXPECT_OK(packed.verify());
    const auto after = open(id);
    for (const auto& disk : {before.get(), after.get()}) {
        for (const auto& [lba, stamp] : std::vector<std::pair<uint64_t, uint64_t>>{
                 {0, 7}, {1, 101}, {2, 0}, {3, 103}, {700, 8}, {701, 0}}) {
            EXPECT_EQ(read_stamp(*disk, lba), stamp) << "block " << lba;
        }
    }
    EXPECT_EQ(value_of(store_.chain(id))[1].form, LayerForm::kPacked);
    EXPECT_EQ(value_of(store_.chain(id))[1].size_bytes, std::filesystem::file_size(layer(id)));
    ASSERT_OK(store_.pack(id));
}

TEST_F(PackTest, WhatStandsOnASealedLayerGoesOnAfterItIsPacked) {
    (void)value_of(store_.create_top("box", base_));
    const ChainId one = seal({{0, 1}, {5, 50}});
    const ChainId two = seal({{0, 2}});
    ASSERT_OK(open(value_of(store_.open_top("box")))->close());  // the chain's index exists
    ASSERT_OK(store_.pack(one));
    const auto disk = open(two);  // its index speaks of the file that isn't there any more
    EXPECT_EQ(read_stamp(*disk, 0), 2U);
    EXPECT_EQ(read_stamp(*disk, 5), 50U);
    const auto box = open(value_of(store_.open_top("box")));
    EXPECT_EQ(read_stamp(*box, 5), 50U);
}

TEST_F(PackTest, ADerivedLayerLeavesItsOriginalAlone) {
    (void)value_of(store_.create_top("box", base_));
    const ChainId sealed = seal({{0, 1}, {5, 50}});
    const ChainId derived = value_of(store_.derive(sealed, [](BlockBackend& disk) -> Status {
        TRY(write_stamp(disk, 5, 51));
        TRY(write_stamp(disk, 6, 61));
        return disk.write_zeroes(0, 4096, true);
    }));
    EXPECT_EQ(value_of(store_.chain(derived)).size(), 2U);
    EXPECT_EQ(value_of(store_.chain(derived))[1].parent, base_);
    const auto disk = open(derived);
    EXPECT_EQ(read_stamp(*disk, 0), 0U);
    EXPECT_EQ(read_stamp(*disk, 5), 51U);
    EXPECT_EQ(read_stamp(*disk, 6), 61U);
    EXPECT_EQ(read_stamp(*disk, 7), 107U);
    EXPECT_OK(store_.verify(derived));
    EXPECT_EQ(read_stamp(*open(sealed), 5), 50U);
    EXPECT_FAILS(store_.derive(sealed,
                               [](BlockBackend&) -> Status {
                                   return Error{ErrorCode::kCorrupt, "no journal"};
                               }),
                 kCorrupt, "no journal");
}

TEST_F(PackTest, DeepChainsAreOpenedThroughFewFiles) {
    (void)value_of(store_.create_top("box", base_));
    std::vector<ChainId> chains{base_};
    for (uint64_t i = 1; i <= 40; ++i) chains.push_back(seal({{0, i}, {i, i}, {1000 + i, i}}));
    EXPECT_EQ(value_of(store_.open_chain(chains.back())).layers.size(), 41U);
    ASSERT_OK(store_.maintain(false));
    const auto look = [&] {
        EXPECT_EQ(value_of(store_.open_chain(chains.back())).layers.size(), 17U);
        const auto disk = open(value_of(store_.open_top("box")));
        EXPECT_EQ(read_stamp(*disk, 0), 40U);
        for (uint64_t i = 1; i <= 40; ++i) {
            EXPECT_EQ(read_stamp(*disk, i), i);
            EXPECT_EQ(read_stamp(*disk, 1000 + i), i);
        }
        EXPECT_EQ(value_of(store_.chain(chains.back())).size(), 41U);
        ASSERT_OK(disk->close());
    };
    look();
    // On top of a flattened chain, more layers; and chains below it are what they were.
    const ChainId next = seal({{0, 77}});
    EXPECT_EQ(value_of(store_.open_chain(next)).layers.size(), 18U);
    EXPECT_EQ(read_stamp(*open(next), 0), 77U);
    EXPECT_EQ(read_stamp(*open(next), 39), 39U);
    EXPECT_EQ(read_stamp(*open(chains[30]), 0), 30U);
    // A flattened file only repeats what the layers say.
    ASSERT_TRUE(std::filesystem::remove(layer(chains.back()) + ".flat"));
    EXPECT_EQ(value_of(store_.open_chain(next)).layers.size(), 42U);
    EXPECT_EQ(read_stamp(*open(next), 20), 20U);
}

TEST_F(PackTest, AFlattenedFileGoesWithTheChainsThatNeedIt) {
    (void)value_of(store_.create_top("box", base_));
    for (uint64_t i = 1; i <= 40; ++i) seal({{i, i}});
    ASSERT_OK(store_.maintain(false));
    const ChainId flat = seal({{50, 1}});
    const std::string file = layer(*value_of(store_.chain(flat)).back().parent) + ".flat";
    ASSERT_OK(store_.prune());
    ASSERT_TRUE(std::filesystem::exists(file));
    EXPECT_EQ(read_stamp(*open(flat), 39), 39U);
    ASSERT_OK(store_.remove_top("box"));
    ASSERT_OK(store_.prune());
    EXPECT_FALSE(std::filesystem::exists(file));
    EXPECT_TRUE(std::filesystem::is_empty(root() + "/layers"));
}

TEST_F(PackTest, ATopIsSealedAsOftenAsOneWants) {
    (void)value_of(store_.create_top("box", base_));
    constexpr uint64_t kSeals = 300;
    ChainId head;
    for (uint64_t i = 1; i <= kSeals; ++i) {
        head = seal({{5, i}, {1000 + i, i}});
        ASSERT_LE(value_of(store_.open_top("box")).layers.size(), Store::kMostOpenLayers + 1);
    }
    EXPECT_LE(value_of(store_.chain(head)).size(), kMaxChainLayers / 2 + 1);
    ASSERT_OK(store_.maintain(false));
    const auto disk = open(value_of(store_.open_top("box")));
    EXPECT_EQ(read_stamp(*disk, 0), 100U);
    EXPECT_EQ(read_stamp(*disk, 5), kSeals);
    for (uint64_t i = 1; i <= kSeals; ++i) ASSERT_EQ(read_stamp(*disk, 1000 + i), i);
}

TEST_F(PackTest, AChainOfImagesIsNoLongerThanItMayBe) {
    (void)value_of(store_.create_top("box", base_));
    for (uint64_t i = 1; i < kMaxChainLayers; ++i) put("app", seal({{i, i}}));
    EXPECT_FAILS(store_.seal_top("box"), kLimit, "no more are possible");
    const auto disk = open(value_of(store_.open_top("box")));
    EXPECT_EQ(read_stamp(*disk, kMaxChainLayers - 1), kMaxChainLayers - 1);
}

TEST_F(PackTest, AJoinedChainIsTheSameDiskAndSoIsWhatStandsOnItsLayers) {
    (void)value_of(store_.create_top("box", base_));
    std::vector<ChainId> chains{base_};
    for (uint64_t i = 1; i <= 20; ++i) chains.push_back(seal({{0, i}, {20, 0}, {1000 + i, i}}));
    (void)value_of(store_.create_top("clone", chains[10]));
    const ChainId above = seal({{3, 33}});
    const auto running = open(value_of(store_.open_top("box")));
    ASSERT_OK(store_.join(chains[20]));
    EXPECT_EQ(value_of(store_.chain(above)).size(), 3U);
    EXPECT_EQ(value_of(store_.chain(chains[10])).size(), 11U) << "others are as they were";
    EXPECT_FALSE(std::filesystem::exists(layer(chains[20]) + ".flat"));
    EXPECT_TRUE(verify().damaged.empty());
    ASSERT_OK(store_.join(chains[20]));  // a second time: nothing to do
    const auto again = open(above);
    const auto clone = open(value_of(store_.open_top("clone")));
    for (const auto& disk : {running.get(), again.get()}) {
        EXPECT_EQ(read_stamp(*disk, 0), 20U);
        EXPECT_EQ(read_stamp(*disk, 3), 33U);
        EXPECT_EQ(read_stamp(*disk, 1005), 5U);
    }
    EXPECT_EQ(read_stamp(*clone, 0), 10U);
    EXPECT_EQ(read_stamp(*clone, 1015), 0U);
}

TEST_F(PackTest, LayersThatWereJoinedGoUnlessSomethingElseStandsOnThem) {
    (void)value_of(store_.create_top("box", base_));
    std::vector<ChainId> chains{base_};
    for (uint64_t i = 1; i <= 5; ++i) chains.push_back(seal({{i, i}}));
    (void)value_of(store_.create_top("clone", chains[2]));
    ASSERT_OK(store_.join(chains[5]));
    ASSERT_OK(store_.prune());
    for (const size_t i : {1U, 2U, 5U}) EXPECT_TRUE(std::filesystem::exists(layer(chains[i]))) << i;
    for (const size_t i : {3U, 4U}) EXPECT_FALSE(std::filesystem::exists(layer(chains[i]))) << i;
    EXPECT_TRUE(verify().damaged.empty());
}

TEST_F(PackTest, WhatAnImageHasIsNotJoined) {
    (void)value_of(store_.create_top("box", base_));
    seal({{1, 1}});
    const ChainId image = seal({{2, 2}});
    put("app:1", image);
    ASSERT_OK(store_.join(image));
    EXPECT_EQ(value_of(store_.chain(image)).size(), 3U);
    for (uint64_t i = 0; i < 5; ++i) seal({{3, i}});
    const ChainId head = seal({{4, 4}});
    ASSERT_OK(store_.join(head));
    const auto records = value_of(store_.chain(head));
    ASSERT_EQ(records.size(), 4U);
    EXPECT_EQ(records[2].chain_id, image);
    EXPECT_EQ(read_stamp(*open(head), 2), 2U);
    EXPECT_EQ(read_stamp(*open(head), 3), 4U);
}

TEST_F(PackTest, ADamagedLayerIsPutAsideAndAnotherPullHealsIt) {
    const ChainId middle = publish(base_, "middle", 1, 11);
    const ChainId head = publish(middle, "head", 2, 22);
    const ChainId other = publish(base_, "other", 3, 33);
    put("app:1", head);
    put("else:1", other);
    (void)value_of(store_.create_top("box", head));
    EXPECT_TRUE(verify().damaged.empty());

    flip(layer(middle), 5000);
    const VerifyReport report = verify();
    ASSERT_EQ(report.damaged.size(), 1U);
    const DamagedLayer& damaged = report.damaged[0];
    EXPECT_EQ(damaged.chain_id, middle);
    EXPECT_THAT(damaged.why, ::testing::HasSubstr("data block 0 does not match"));
    EXPECT_EQ(damaged.images, std::vector<std::string>{"app:1"});
    EXPECT_EQ(damaged.tops, std::vector<std::string>{"box"});
    EXPECT_TRUE(damaged.put_aside);
    EXPECT_TRUE(std::filesystem::exists(root() + "/quarantine/" + middle.hex()));
    EXPECT_FALSE(value_of(store_.has_layer(middle)));
    EXPECT_FAILS(store_.open_chain(head), kNotFound, "pull or load its image again");
    EXPECT_OK(store_.open_chain(other));
    ASSERT_EQ(verify().damaged.size(), 1U) << "it stays named until it is healed";
    ASSERT_OK(store_.prune());
    EXPECT_TRUE(std::filesystem::exists(root() + "/quarantine/" + middle.hex()));

    EXPECT_EQ(publish(base_, "middle", 1, 11), middle);
    EXPECT_EQ(read_stamp(*open(head), 1), 11U);
    EXPECT_EQ(read_stamp(*open(value_of(store_.open_top("box"))), 2), 22U);
    EXPECT_TRUE(verify().damaged.empty());
    EXPECT_FALSE(std::filesystem::exists(root() + "/quarantine/" + middle.hex()));
}

TEST_F(PackTest, ADamagedSealedLayerIsNotReplacedByItsPulledTwin) {
    (void)value_of(store_.create_top("box", base_));
    const ChainId sealed = seal({{1, 11}});
    const Digest diff = sha256(std::string_view("tar"));
    ASSERT_OK(store_.set_diff_id(sealed, diff));
    put("app:1", sealed);
    ASSERT_OK(store_.pack(sealed));
    flip(layer(sealed), 5000);
    ASSERT_EQ(verify().damaged.size(), 1U);
    // Another store's import has the same files in other blocks.
    const ChainId pulled = publish(base_, "tar", 9, 11);
    EXPECT_EQ(pulled, child_chain_id(base_, diff));
    put("app:1", pulled);
    EXPECT_EQ(value_of(store_.resolve("app:1")).chain_id, pulled);
    EXPECT_EQ(read_stamp(*open(pulled), 9), 11U);
    EXPECT_FAILS(store_.open_top("box"), kNotFound, "pull or load");
}

TEST_F(PackTest, UsageIsWhatDuCounts) {
    put("app:1", publish(base_, "a", 1, 11));
    (void)value_of(store_.create_top("box", base_));
    seal({{1, 11}, {900, 12}});
    std::filesystem::create_directories(root() + "/containers/x");
    std::ofstream(root() + "/containers/x/log") << std::string(100'000, 'x');
    std::ofstream(root() + "/blobs/sha256:0") << std::string(50'000, 'x');
    ::sync();  // delayed allocation: blocks are counted when they have a place
    const DiskUsage usage = value_of(store_.disk_usage());
    const std::string command = "du -s -B1 " + root() + " | cut -f1 > " + dir_.file("du");
    ASSERT_EQ(std::system(command.c_str()), 0);
    uint64_t du = 0;
    std::ifstream(dir_.file("du")) >> du;
    EXPECT_GE(usage.total_bytes, du - du / 100);
    EXPECT_LE(usage.total_bytes, du + du / 100);
    EXPECT_EQ(usage.total_bytes, usage.layer_bytes + usage.index_bytes + usage.top_bytes +
                                     usage.blob_bytes + usage.quarantine_bytes + usage.tmp_bytes +
                                     usage.database_bytes + usage.other_bytes);
    EXPECT_GE(usage.other_bytes, 100'000U);
    EXPECT_GE(usage.blob_bytes, 50'000U);
    EXPECT_EQ(usage.layers, 3U);
}

TEST_F(PackTest, DiscardGivesTheHostItsSpaceBack) {
    const auto disk = open(value_of(store_.create_top("box", base_)));
    for (uint64_t lba = 1000; lba < 1256; ++lba) ASSERT_OK(write_stamp(*disk, lba, lba));
    ASSERT_OK(disk->flush());
    const uint64_t full = value_of(store_.top_bytes("box"));
    EXPECT_GT(full, uint64_t{1} << 20);
    ASSERT_OK(disk->discard(1000 * 4096, 256 * 4096));
    ASSERT_OK(disk->flush());
    EXPECT_LT(value_of(store_.top_bytes("box")), full - (uint64_t{1} << 20) + 65536);
}

TEST_F(PackTest, ATopDoesNotGrowBeyondItsQuota) {
    DiskFiles files = value_of(store_.create_top("box", base_));
    files.max_top_bytes = uint64_t{8} * 4096;
    const auto disk = open(std::move(files));
    for (uint64_t lba = 0; lba < 8; ++lba) ASSERT_OK(write_stamp(*disk, lba, 1));
    EXPECT_FAILS(write_stamp(*disk, 8, 1), kLimit, "of the host's");
    EXPECT_EQ(write_stamp(*disk, 8, 1).error().os_errno, EDQUOT);
    for (int round = 0; round < 20; ++round) ASSERT_OK(write_stamp(*disk, 3, 2));
    ASSERT_OK(disk->discard(0, 4096));
    ASSERT_OK(disk->flush());
    ASSERT_OK(write_stamp(*disk, 8, 1));
    EXPECT_FAILS(write_stamp(*disk, 9, 1), kLimit, "of the host's");
    EXPECT_EQ(read_stamp(*disk, 8), 1U);
    EXPECT_EQ(read_stamp(*disk, 9), 109U) << "nothing was written";
}

}  // namespace
}  // namespace drupe::imagefs
