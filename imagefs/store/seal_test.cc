#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

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

class SealTest : public ::testing::Test {
  protected:
    SealTest() : store_(reopen()) {
        LayerBuilder builder = value_of(store_.begin_root(kBlocks));
        for (uint64_t lba = 0; lba < 600; ++lba) {
            EXPECT_OK(builder.write(lba, 1, stamped(1000 + lba).data()));
        }
        EXPECT_OK(store_.publish_root(std::move(builder), base_));
    }

    Store reopen() { return value_of(Store::open(root())); }
    [[nodiscard]] std::string root() const { return dir_.file("store"); }
    std::unique_ptr<LayeredDisk> open(DiskFiles files) {
        return value_of(LayeredDisk::open(std::move(files)));
    }
    [[nodiscard]] size_t files_in(const std::string& folder) const {
        const std::filesystem::directory_iterator it(root() + "/" + folder);
        return static_cast<size_t>(std::distance(begin(it), end(it)));
    }
    Image image_of(const ChainId& chain_id) {
        Image image;
        image.config = "{}";
        image.id = sha256(image.config);
        image.chain_id = chain_id;
        return image;
    }

    TempDir dir_{true};
    ChainId base_ = root_chain_id("test/1");
    Store store_;
};

TEST_F(SealTest, TheTopBecomesALayerAndTheMachineGoesOn) {
    {
        const auto disk = open(value_of(store_.create_top("box", base_)));
        ASSERT_OK(write_stamp(*disk, 0, 7));    // block 0, where a packed layer has its header
        ASSERT_OK(write_stamp(*disk, 700, 8));  // where the parent has nothing
        ASSERT_OK(disk->discard(5 * 4096, 2 * 4096));
        ASSERT_OK(disk->close());
    }
    struct stat before {};
    ASSERT_EQ(::stat((root() + "/tops/box/data").c_str(), &before), 0);
    SealedTop sealed = value_of(store_.seal_top("box"));
    EXPECT_EQ(sealed.parent, base_);
    EXPECT_FALSE(sealed.needs_replay);
    struct stat after {};
    ASSERT_EQ(::stat((root() + "/layers/" + sealed.chain_id.hex()).c_str(), &after), 0);
    EXPECT_EQ(after.st_ino, before.st_ino) << "no data was copied";
    EXPECT_EQ(after.st_nlink, 1U);
    EXPECT_EQ(files_in("tops/box"), 2U);

    const auto running = open(std::move(sealed.files));
    EXPECT_EQ(running->top()->map().count(BlockState::kAbsent), kBlocks) << "the new top is empty";
    EXPECT_EQ(read_stamp(*running, 0), 7U);
    EXPECT_EQ(read_stamp(*running, 4), 1004U);
    EXPECT_EQ(read_stamp(*running, 5), 0U);
    EXPECT_EQ(read_stamp(*running, 6), 0U);
    EXPECT_EQ(read_stamp(*running, 700), 8U);
    ASSERT_OK(write_stamp(*running, 0, 9));

    const auto image = open(value_of(store_.open_chain(sealed.chain_id)));
    EXPECT_TRUE(image->read_only());
    EXPECT_EQ(read_stamp(*image, 0), 7U) << "what is written afterwards isn't in the layer";
    EXPECT_OK(store_.verify(sealed.chain_id));
    const std::vector<LayerRecord> chain = value_of(store_.chain(sealed.chain_id));
    ASSERT_EQ(chain.size(), 2U);
    EXPECT_EQ(chain[1].form, LayerForm::kSparse);
    EXPECT_TRUE(chain[1].diff_id.is_null());
    EXPECT_LT(chain[1].size_bytes, 5 * 4096U);
}

TEST_F(SealTest, SealingGoesOnLayerAfterLayer) {
    (void)value_of(store_.create_top("box", base_));
    std::vector<ChainId> chains;
    for (uint64_t round = 1; round <= 5; ++round) {
        {
            const auto disk = open(value_of(reopen().open_top("box")));
            EXPECT_EQ(read_stamp(*disk, 0), round == 1 ? 1000 : round - 1);
            ASSERT_OK(write_stamp(*disk, 0, round));
            ASSERT_OK(disk->close());
        }
        chains.push_back(value_of(store_.seal_top("box")).chain_id);
    }
    for (uint64_t round = 1; round <= 5; ++round) {
        const auto disk = open(value_of(store_.open_chain(chains[round - 1])));
        EXPECT_EQ(read_stamp(*disk, 0), round);
        EXPECT_EQ(read_stamp(*disk, 599), 1599U);
    }
    EXPECT_EQ(value_of(store_.chain(chains.back())).size(), 6U);
    // Its index, made layer by layer, is the one that all layers give.
    const std::string index = root() + "/indexes/" + chains.back().hex();
    const std::string grown = value_of(read_file(index, 1 << 20));
    ASSERT_TRUE(std::filesystem::remove(index));
    ASSERT_OK(store_.open_chain(chains.back()));
    EXPECT_EQ(grown == value_of(read_file(index, 1 << 20)), true);
    EXPECT_EQ(files_in("tops/box"), 2U);
    ASSERT_OK(store_.remove_top("box"));
    EXPECT_EQ(files_in("tops"), 0U);
    EXPECT_EQ(value_of(store_.prune()).layers, 6U);
    EXPECT_EQ(files_in("layers") + files_in("indexes"), 0U);
}

TEST_F(SealTest, ATopThatCrashedIsRecoveredFirst) {
    {
        const auto disk = open(value_of(store_.create_top("box", base_)));
        ASSERT_OK(write_stamp(*disk, 3, 33));
        ASSERT_OK(disk->discard(5 * 4096, 4096));
        ASSERT_OK(disk->flush());
    }
    SealedTop sealed = value_of(store_.seal_top("box"));
    const auto disk = open(std::move(sealed.files));
    EXPECT_EQ(read_stamp(*disk, 3), 33U);
    EXPECT_EQ(read_stamp(*disk, 5), 0U);
    EXPECT_EQ(read_stamp(*disk, 6), 1006U);
}

TEST_F(SealTest, AnEmptyTopIsAnEmptyLayer) {
    (void)value_of(store_.create_top("box", base_));
    SealedTop sealed = value_of(store_.seal_top("box"));
    EXPECT_EQ(read_stamp(*open(std::move(sealed.files)), 3), 1003U);
    EXPECT_EQ(value_of(store_.chain(sealed.chain_id))[1].size_bytes, 4096U);
}

TEST_F(SealTest, ATopInUseIsNotSealed) {
    const DiskFiles files = value_of(store_.create_top("box", base_));
    EXPECT_FAILS(reopen().seal_top("box"), kConflict, "in use");
    EXPECT_FAILS(store_.seal_top("nobody"), kNotFound, "no disk nobody");
    EXPECT_EQ(files_in("layers"), 1U);
}

TEST_F(SealTest, AGuestCannotPassItsFirstBlockForALayersHeader) {
    const std::string hostile =
        value_of(read_file(root() + "/layers/" + base_.hex(), 16 << 20)).substr(0, 4096);
    {
        const auto disk = open(value_of(store_.create_top("box", base_)));
        std::string block = hostile;
        const iovec v{block.data(), block.size()};
        ASSERT_OK(disk->write(0, {&v, 1}));
        ASSERT_OK(disk->close());
    }
    SealedTop sealed = value_of(store_.seal_top("box"));
    const auto disk = open(std::move(sealed.files));
    std::string block(4096, '\0');
    const iovec v{block.data(), block.size()};
    ASSERT_OK(disk->read(0, {&v, 1}));
    EXPECT_EQ(block, hostile);
    EXPECT_EQ(read_stamp(*disk, 1), 1001U);
}

TEST_F(SealTest, AJournalThatIsNotEmptyMakesNoImage) {
    {
        const auto disk = open(value_of(store_.create_top("box", base_)));
        test::Block block{};
        block[1024 + 0x38] = std::byte{0x53};
        block[1024 + 0x39] = std::byte{0xEF};
        block[1024 + 0x60] = std::byte{0x46};
        const iovec v{block.data(), block.size()};
        ASSERT_OK(disk->write(0, {&v, 1}));
        ASSERT_OK(disk->close());
    }
    const SealedTop sealed = value_of(store_.seal_top("box"));
    EXPECT_TRUE(sealed.needs_replay);
    EXPECT_TRUE(value_of(store_.chain(sealed.chain_id))[1].needs_replay);
    EXPECT_FAILS(store_.put_image(image_of(sealed.chain_id)), kConflict, "journal to replay");
}

TEST_F(SealTest, APushedLayerIsFoundWhenItIsPulledBack) {
    (void)value_of(store_.create_top("box", base_));
    const ChainId one = value_of(store_.seal_top("box")).chain_id;
    const ChainId two = value_of(store_.seal_top("box")).chain_id;
    const Digest diff_one = test::digest_number(1);
    const Digest diff_two = test::digest_number(2);
    EXPECT_FAILS(store_.set_diff_id(two, diff_two), kConflict, "isn't known yet");
    ASSERT_OK(store_.set_diff_id(one, diff_one));
    ASSERT_OK(store_.set_diff_id(two, diff_two));
    ASSERT_OK(store_.set_diff_id(two, diff_two));
    EXPECT_FAILS(store_.set_diff_id(two, diff_one), kConflict, "already");
    const ChainId oci = child_chain_id(child_chain_id(base_, diff_one), diff_two);
    EXPECT_TRUE(value_of(store_.has_layer(oci)));
    EXPECT_EQ(value_of(store_.oci_chain_id(two)), oci);
    EXPECT_EQ(value_of(store_.chain(oci)).back().chain_id, two);
    EXPECT_EQ(value_of(store_.chain(oci)).back().diff_id, diff_two);
    EXPECT_OK(store_.open_chain(oci));
    ASSERT_OK(store_.put_image(image_of(oci)));
    EXPECT_EQ(value_of(store_.list_images())[0].chain_id, two);
    // A layer that is pulled onto it has its OCI name.
    LayerBuilder builder = value_of(store_.begin_layer(oci));
    ASSERT_OK(builder.write(9, 1, stamped(9).data()));
    const Digest diff_three = test::digest_number(3);
    const ChainId three = value_of(store_.publish_layer(std::move(builder), diff_three));
    EXPECT_EQ(three, child_chain_id(oci, diff_three));
    EXPECT_EQ(read_stamp(*open(value_of(store_.open_chain(three))), 9), 9U);
}

TEST_F(SealTest, AResetTopBeginsAnewOnAnotherChain) {
    {
        const auto disk = open(value_of(store_.create_top("box", base_)));
        ASSERT_OK(write_stamp(*disk, 3, 30));
        EXPECT_EQ(store_.reset_top("box", base_).error().code, ErrorCode::kConflict) << "in use";
        ASSERT_OK(disk->close());
    }
    const ChainId sealed = value_of(store_.seal_top("box")).chain_id;
    {
        const auto disk = open(value_of(store_.open_top("box")));
        ASSERT_OK(write_stamp(*disk, 3, 31));
        ASSERT_OK(disk->close());
    }
    {
        const auto disk = open(value_of(store_.reset_top("box", sealed)));
        EXPECT_EQ(read_stamp(*disk, 3), 30U);
        ASSERT_OK(write_stamp(*disk, 4, 40));
        ASSERT_OK(disk->close());
    }
    EXPECT_EQ(open(value_of(store_.open_top("box")))->close().has_value(), true);
    {
        const auto disk = open(value_of(store_.reset_top("box", base_)));
        EXPECT_EQ(read_stamp(*disk, 3), 1003U);
        EXPECT_EQ(read_stamp(*disk, 4), 1004U);
    }
    EXPECT_EQ(files_in("tops/box"), 2U);
    EXPECT_EQ(store_.reset_top("nobody", base_).error().code, ErrorCode::kNotFound);
    EXPECT_FALSE(store_.reset_top("box", root_chain_id("never")));
    EXPECT_TRUE(store_.open_top("box"));
}

TEST_F(SealTest, ACutOffSealingLeavesTheOldTop) {
    {
        const auto disk = open(value_of(store_.create_top("box", base_)));
        ASSERT_OK(write_stamp(*disk, 3, 33));
        ASSERT_OK(disk->close());
    }
    // The last step before the transaction fails: a folder is where the next top's file should be.
    std::filesystem::create_directories(root() + "/tops/box/meta.1/x");
    EXPECT_FAILS(store_.seal_top("box"), kIo, "seal disk box");
    EXPECT_EQ(files_in("layers"), 1U);
    std::filesystem::remove_all(root() + "/tops/box/meta.1");
    const auto disk = open(value_of(store_.open_top("box")));
    EXPECT_EQ(read_stamp(*disk, 3), 33U);
}

/// Milliseconds that sealing 10 MiB of changes takes on an image of so many; the best of five.
double seal_time_ms(uint64_t image_mib) {
    constexpr uint64_t kBlocksOfDisk = uint64_t{64} << 18;  // 64 GiB
    const TempDir dir(true);
    Store store = value_of(Store::open(dir.file("store")));
    const ChainId base = root_chain_id("test/big");
    {
        LayerBuilder builder = value_of(store.begin_root(kBlocksOfDisk));
        std::vector<test::Block> blocks(256, stamped(5));
        for (uint64_t mib = 0; mib < image_mib; ++mib) {
            // A gap in each 2 MiB, so that the index has a page for it: the worst case.
            EXPECT_OK(builder.write(mib * 257, 256, blocks.data()));
        }
        EXPECT_OK(store.publish_root(std::move(builder), base));
    }
    (void)value_of(store.create_top("box", base));
    double best = 1e9;
    for (int round = 0; round < 3; ++round) {
        {
            const auto disk = value_of(LayeredDisk::open(value_of(store.open_top("box"))));
            for (uint64_t i = 0; i < 2560; ++i) EXPECT_OK(write_stamp(*disk, i * 7, i + 1));
            EXPECT_OK(disk->close());
        }
        const auto begin = std::chrono::steady_clock::now();
        EXPECT_OK(store.seal_top("box"));
        const std::chrono::duration<double, std::milli> took =
            std::chrono::steady_clock::now() - begin;
        best = std::min(best, took.count());
    }
    return best;
}

TEST(SealTime, DoesNotDependOnTheImagesSize) {
    const char* wish = std::getenv("DRUPE_LONG");
    const uint64_t large = wish != nullptr && std::string_view(wish) == "1" ? 2048 : 16;
    const double small_ms = seal_time_ms(4);
    const double large_ms = seal_time_ms(large);
    std::printf("sealing 2560 blocks in 2560 places: %.2f ms on 4 MiB, %.2f ms on %llu MiB\n",
                small_ms, large_ms, static_cast<unsigned long long>(large));
    // A busy machine's noise, not a copy's time: 10 MiB would be more than that.
    EXPECT_LT(large_ms, 4 * small_ms + 50);
}

}  // namespace
}  // namespace drupe::imagefs
