#include "imagefs/store/layered_disk.h"

#include <sys/stat.h>

#include <algorithm>
#include <functional>

#include "imagefs/store/block_backend_conformance.h"
#include "imagefs/store/layer_builder.h"
#include "imagefs/store/test_support.h"

namespace drupe::imagefs {
namespace {

using test::DiskUnderTest;
using test::make_layer;
using test::memory_file;
using test::read_stamp;
using test::stamped;
using test::value_of;
using test::write_stamp;

constexpr uint64_t kBlocks = 600;  // more than one slot of the index

std::vector<LayerFile> chain() {
    std::vector<LayerFile> layers;
    std::vector<test::LayerBlock> first;
    for (uint64_t lba = 0; lba < kBlocks; lba += (lba % 7 == 0 ? 3 : 1))
        first.push_back({lba, lba + 1});
    layers.push_back(make_layer(1, kBlocks, first));
    layers.push_back(make_layer(2, kBlocks, {{4, 5000}, {5, 0}, {6, 0}, {511, 5001}, {512, 0}}));
    layers.push_back(make_layer(3, kBlocks, {{5, 6000}, {513, 6001}, {599, 0}}));
    return layers;
}

DiskFiles chain_with_top() {
    DiskFiles files = test::files_of(chain());
    files.top_data = memory_file();
    files.top_meta = memory_file();
    EXPECT_OK(WritableTop::format(files.top_data.get(), files.top_meta.get(), kBlocks,
                                  test::digest_number(3)));
    return files;
}

std::vector<std::byte> chain_content() {
    std::vector<std::byte> content(kBlocks * 4096);
    for (const LayerFile& layer : chain()) {
        for (const LayerExtent& extent : layer.extents()) {
            const std::span<std::byte> target =
                std::span(content).subspan(extent.lba * 4096, extent.blocks * 4096ULL);
            if (extent.kind == ExtentKind::kZero) {
                std::fill(target.begin(), target.end(), std::byte{0});
            } else {
                EXPECT_OK(read_exact(layer.fd(), target, extent.offset * 4096));
            }
        }
    }
    return content;
}

DiskUnderTest layered() {
    return {value_of(LayeredDisk::open(chain_with_top())), chain_content()};
}

DiskUnderTest layered_on_scratch() {
    DiskFiles files = test::files_of(chain());
    std::optional<MergedIndex> index = value_of(MergedIndex::open(files.index, "test"));
    std::optional<WritableTop> top = value_of(WritableTop::scratch(memory_file(), kBlocks));
    return {
        value_of(LayeredDisk::assemble(std::move(index), std::move(files.layers), std::move(top))),
        chain_content()};
}

DiskUnderTest top_alone() {
    std::optional<WritableTop> top = value_of(WritableTop::scratch(memory_file(), kBlocks));
    return {value_of(LayeredDisk::assemble(std::nullopt, {}, std::move(top))),
            std::vector<std::byte>(kBlocks * 4096)};
}

DiskUnderTest raw() {
    std::vector<std::byte> content = chain_content();
    Fd fd = memory_file();
    EXPECT_OK(write_exact(fd.get(), content, 0));
    return {value_of(open_raw_disk(std::move(fd), false)), std::move(content)};
}

DiskUnderTest fake() {
    std::vector<std::byte> content = chain_content();
    return {std::make_unique<test::FakeDisk>(content), content};
}

using test::BlockBackendConformance;
INSTANTIATE_TEST_SUITE_P(Backends, BlockBackendConformance,
                         ::testing::Values(test::DiskMaker{"Layered", layered},
                                           test::DiskMaker{"LayeredOnScratch", layered_on_scratch},
                                           test::DiskMaker{"TopAlone", top_alone},
                                           test::DiskMaker{"Raw", raw},
                                           test::DiskMaker{"Fake", fake}),
                         [](const auto& param) { return param.param.name; });

TEST(LayeredDisk, WithoutATopItIsReadOnly) {
    const auto disk = value_of(LayeredDisk::open(test::files_of(chain())));
    EXPECT_TRUE(disk->read_only());
    EXPECT_EQ(read_stamp(*disk, 5), 6000U);
    EXPECT_FAILS(write_stamp(*disk, 5, 1), kDenied, "read-only");
    EXPECT_FAILS(disk->write_zeroes(0, 4096, true), kDenied, "read-only");
    EXPECT_FAILS(disk->discard(0, 4096), kDenied, "read-only");
    EXPECT_OK(disk->flush());
    EXPECT_OK(disk->close());
    EXPECT_EQ(read_stamp(*disk, 5), 6000U);
}

TEST(LayeredDisk, LayersInTheWrongOrderAreRefused) {
    DiskFiles files = chain_with_top();
    std::swap(files.layers[0], files.layers[1]);
    EXPECT_FAILS(LayeredDisk::open(std::move(files)), kCorrupt, "layer file 0 of the disk");
    files = chain_with_top();
    files.layers.pop_back();
    EXPECT_FAILS(LayeredDisk::open(std::move(files)), kInvalid, "2 layer files, an index of 3");
}

TEST(LayeredDisk, ATopOfAnotherChainIsRefused) {
    DiskFiles files = test::files_of(chain());
    files.top_data = memory_file();
    files.top_meta = memory_file();
    ASSERT_OK(WritableTop::format(files.top_data.get(), files.top_meta.get(), kBlocks,
                                  test::digest_number(2)));
    EXPECT_FAILS(LayeredDisk::open(std::move(files)), kCorrupt, "the top was made for chain");
}

TEST(LayeredDisk, ATruncatedLayerIsAnErrorOfTheRead) {
    DiskFiles files = chain_with_top();
    const int layer = files.layers[0].get();
    const auto disk = value_of(LayeredDisk::open(std::move(files)));
    ASSERT_EQ(::ftruncate(layer, 8192), 0);
    std::vector<std::byte> buffer(kBlocks * 4096);
    const iovec v{buffer.data(), buffer.size()};
    EXPECT_FAILS(disk->read(0, {&v, 1}), kCorrupt, "layer file 0 of the disk");
}

TEST(LayeredDisk, DiscardedBlocksFreeTheirSpace) {
    DiskFiles files = chain_with_top();
    const int data = files.top_data.get();
    const auto disk = value_of(LayeredDisk::open(std::move(files)));
    for (uint64_t lba = 0; lba < 100; ++lba) ASSERT_OK(write_stamp(*disk, lba, 7));
    ASSERT_OK(disk->discard(0, 100 * 4096));
    ASSERT_OK(disk->flush());
    struct stat st {};
    ASSERT_EQ(::fstat(data, &st), 0);
    EXPECT_EQ(st.st_blocks, 0);
}

TEST(RawDisk, OddSizesAreRefused) {
    EXPECT_FAILS(open_raw_disk(memory_file("abc"), false), kInvalid, "multiple of 4096");
}

TEST(RawDisk, ReadOnlyMeansReadOnly) {
    const auto disk = value_of(open_raw_disk(memory_file(std::string(8192, 'a')), true));
    EXPECT_TRUE(disk->read_only());
    EXPECT_FAILS(write_stamp(*disk, 0, 1), kDenied, "read-only");
    EXPECT_FAILS(disk->write_zeroes(0, 4096, false), kDenied, "read-only");
}

/// A layer on top of chain() with what `change` does to it.
LayerFile built(const std::function<void(LayerBuilder&)>& change) {
    LayerBuilder builder = value_of(LayerBuilder::create(
        test::digest_number(3), test::files_of(chain()), kBlocks, memory_file()));
    change(builder);
    const LayerIdentity identity{test::digest_number(4), test::digest_number(3),
                                 test::digest_number(9), kBlocks};
    LayerWriter::Finished sealed = value_of(builder.seal(memory_file(), identity));
    LayerFile layer = value_of(LayerFile::open(std::move(sealed.fd), "built"));
    EXPECT_OK(layer.verify());
    return layer;
}

TEST(LayerBuilder, SealsOnlyWhatDiffersFromTheParent) {
    const LayerFile layer = built([](LayerBuilder& builder) {
        // Blocks 1 and 2 are absent in the chain, 5 has data, 6 is a mark over data.
        EXPECT_OK(builder.write(5, 1, stamped(6000).data()));  // equal: dropped
        EXPECT_OK(builder.write(1, 1, stamped(0).data()));     // zeroes on nothing: dropped
        EXPECT_OK(builder.write(4, 1, stamped(0).data()));     // zeroes on data: a mark
        EXPECT_OK(builder.write(6, 1, stamped(77).data()));
        EXPECT_OK(builder.write(598, 1, stamped(78).data()));
        EXPECT_OK(builder.zero(512, 2));  // absent, then data
        EXPECT_OK(builder.write(20, 1, stamped(79).data()));
        EXPECT_OK(builder.zero(20, 1));  // written, then zeroed, over data
    });
    const std::vector<LayerExtent> expected{{4, 1, ExtentKind::kZero, 0},
                                            {6, 1, ExtentKind::kData, 1},
                                            {20, 1, ExtentKind::kZero, 0},
                                            {513, 1, ExtentKind::kZero, 0},
                                            {598, 1, ExtentKind::kData, 2}};
    EXPECT_TRUE(std::ranges::equal(layer.extents(), expected));
}

TEST(LayerBuilder, TheOrderOfWritesDoesNotShow) {
    const auto forward = [](LayerBuilder& builder) {
        for (uint64_t lba = 0; lba < 300; ++lba) {
            EXPECT_OK(builder.write(lba, 1, stamped(lba * 3 + 1).data()));
        }
    };
    const auto backward = [](LayerBuilder& builder) {
        for (uint64_t lba = 300; lba-- > 0;) {
            EXPECT_OK(builder.write(lba, 1, stamped(1).data()));
            EXPECT_OK(builder.write(lba, 1, stamped(lba * 3 + 1).data()));
        }
    };
    EXPECT_EQ(test::content_of(built(forward).fd()), test::content_of(built(backward).fd()));
}

TEST(LayerBuilder, ReadsThroughToTheParentAndBackWhatItWrote) {
    built([](LayerBuilder& builder) {
        test::Block block;
        EXPECT_OK(builder.read(5, 1, block.data()));
        EXPECT_EQ(test::stamp_of(block), 6000U);
        EXPECT_OK(builder.write(5, 1, stamped(1).data()));
        EXPECT_OK(builder.read(5, 1, block.data()));
        EXPECT_EQ(test::stamp_of(block), 1U);
        EXPECT_FAILS(builder.read(kBlocks, 1, block.data()), kInvalid, "outside");
        EXPECT_FAILS(builder.write(1, UINT64_MAX, block.data()), kInvalid, "outside");
        EXPECT_FAILS(builder.zero(UINT64_MAX, 2), kInvalid, "outside");
    });
}

TEST(LayerBuilder, BuildsALayerWithoutAParent) {
    LayerBuilder builder =
        value_of(LayerBuilder::create(std::nullopt, DiskFiles{}, 64, memory_file()));
    ASSERT_OK(builder.write(3, 1, stamped(1).data()));
    ASSERT_OK(builder.zero(4, 10));
    const LayerIdentity identity{test::digest_number(1), std::nullopt, {}, 64};
    LayerWriter::Finished sealed = value_of(builder.seal(memory_file(), identity));
    EXPECT_EQ(sealed.info.extent_count, 1U);
    EXPECT_EQ(sealed.info.data_blocks, 1U);
}

}  // namespace
}  // namespace drupe::imagefs
