#include "imagefs/store/layer_file.h"

#include <fstream>
#include <functional>

#include "base/crc32c.h"
#include "imagefs/store/layer_format.h"
#include "imagefs/store/test_support.h"

namespace drupe::imagefs {
namespace {

using test::content_of;
using test::make_layer;
using test::memory_file;
using test::stamped;
using test::value_of;

/// The layer of tests/golden/layer-v1.drupe: all kinds of extents, and more than one Merkle leaf.
LayerFile golden_layer() {
    std::vector<test::LayerBlock> blocks;
    for (uint64_t lba = 3; lba < 73; ++lba) blocks.push_back({lba, lba});
    blocks.push_back({80, 0});
    blocks.push_back({81, 0});
    blocks.push_back({100, 1000});
    blocks.push_back({1023, 1001});
    return make_layer(2, 1024, blocks);
}

std::string good_file() {
    return content_of(golden_layer().fd());
}

Result<LayerFile> open_bytes(const std::string& content) {
    return LayerFile::open(memory_file(content), "bad.layer");
}

/// A file whose header was changed and sealed again.
std::string with_header(const std::function<void(LayerInfo&)>& change) {
    std::string content = good_file();
    LayerInfo info =
        value_of(decode_layer_header(content.substr(0, 4096), LayerForm::kPacked, "good"));
    change(info);
    content.replace(0, 4096, encode_layer_header(info));
    return content;
}

/// A file whose header bytes were changed and sealed again.
std::string with_header_bytes(size_t at, std::string_view bytes) {
    std::string content = good_file();
    std::string header = content.substr(0, 4092);
    header.replace(at, bytes.size(), bytes);
    content.replace(0, 4096, seal_block(header));
    return content;
}

/// A file whose index was changed and summed again.
std::string with_index(const std::function<void(std::vector<LayerExtent>&)>& change) {
    const LayerFile layer = golden_layer();
    std::vector<LayerExtent> extents(layer.extents().begin(), layer.extents().end());
    const size_t count = extents.size();
    change(extents);
    EXPECT_EQ(extents.size(), count);
    std::string index;
    for (const LayerExtent& extent : extents) index += encode_extent(extent);
    std::string content = with_header(
        [&](LayerInfo& info) { info.index_crc = crc32c(std::as_bytes(std::span(index))); });
    content.replace(layout_of(layer.info().data_blocks, layer.info().extent_count).index,
                    index.size(), index);
    return content;
}

TEST(LayerFile, TellsWhatWasWritten) {
    const LayerFile layer = golden_layer();
    const std::vector<LayerExtent> expected{
        {3, 70, ExtentKind::kData, 1},
        {80, 2, ExtentKind::kZero, 0},
        {100, 1, ExtentKind::kData, 71},
        {1023, 1, ExtentKind::kData, 72},
    };
    EXPECT_TRUE(std::ranges::equal(layer.extents(), expected));
    EXPECT_EQ(layer.info().data_blocks, 72U);
    EXPECT_EQ(layer.info().identity.virtual_blocks, 1024U);
    EXPECT_EQ(layer.info().identity.parent, test::digest_number(1));
    EXPECT_EQ(layer.info().identity.chain_id, test::digest_number(2));
    EXPECT_EQ(layer.info().file_bytes, content_of(layer.fd()).size());
    EXPECT_OK(layer.verify());
    test::Block block;
    ASSERT_OK(read_exact(layer.fd(), block, 71 * 4096));
    EXPECT_EQ(test::stamp_of(block), 1000U);
}

TEST(LayerFile, AnEmptyLayerIsALayer) {
    const LayerFile layer = make_layer(1, 8, {});
    EXPECT_TRUE(layer.extents().empty());
    EXPECT_OK(layer.verify());
}

TEST(LayerFile, EqualInputGivesEqualBytesHoweverItIsCut) {
    LayerIdentity identity{test::digest_number(2), test::digest_number(1), test::digest_number(102),
                           1024};
    LayerWriter writer = value_of(LayerWriter::create(memory_file(), identity));
    std::vector<std::byte> run;
    for (uint64_t lba = 3; lba < 73; ++lba) {
        const test::Block block = stamped(lba);
        run.insert(run.end(), block.begin(), block.end());
    }
    ASSERT_OK(writer.add_data(3, run));
    ASSERT_OK(writer.add_zero(80, 2));
    ASSERT_OK(writer.add_data(100, stamped(1000)));
    ASSERT_OK(writer.add_data(1023, stamped(1001)));
    EXPECT_EQ(content_of(value_of(writer.finish()).fd.get()), good_file());
}

TEST(LayerFile, GoldenFileIsReadAndReproducedByteForByte) {
    const std::string path = DRUPE_SOURCE_DIR "/tests/golden/layer-v1.drupe";
    if (std::getenv("DRUPE_WRITE_GOLDEN") != nullptr) {
        std::ofstream(path, std::ios::binary) << good_file();
    }
    const std::string golden = value_of(read_file(path, 1 << 20));
    const LayerFile layer = value_of(LayerFile::open(memory_file(golden), path));
    EXPECT_OK(layer.verify());
    EXPECT_TRUE(std::ranges::equal(layer.extents(), golden_layer().extents()));
    EXPECT_EQ(golden == good_file(), true) << "the writer's output has changed: a new version";
}

TEST(LayerWriter, RefusesDisorderAndWhatIsOutside) {
    LayerIdentity identity{test::digest_number(1), std::nullopt, {}, 16};
    LayerWriter writer = value_of(LayerWriter::create(memory_file(), identity));
    ASSERT_OK(writer.add_data(4, stamped(1)));
    EXPECT_FAILS(writer.add_data(4, stamped(1)), kInvalid, "must rise");
    EXPECT_FAILS(writer.add_zero(3, 1), kInvalid, "must rise");
    EXPECT_FAILS(writer.add_zero(15, 2), kInvalid, "inside the disk");
    EXPECT_FAILS(writer.add_zero(5, 0), kInvalid, "must rise");
    EXPECT_FAILS(writer.add_zero(5, UINT64_MAX), kInvalid, "inside the disk");
    EXPECT_FAILS(writer.add_data(5, std::vector<std::byte>(100)), kInvalid, "whole blocks");
    identity.virtual_blocks = 0;
    EXPECT_FAILS(LayerWriter::create(memory_file(), identity), kInvalid, "size");
}

TEST(LayerFile, DamageIsFoundAtOpenAndNamed) {
    const std::string good = good_file();
    std::string bad = good;
    EXPECT_FAILS(open_bytes(""), kCorrupt, "bad.layer: too short");
    EXPECT_FAILS(open_bytes(std::string(8192, 'x')), kCorrupt, "magic");
    EXPECT_FAILS(open_bytes(good.substr(0, good.size() - 4096)), kCorrupt, "bytes long instead of");
    EXPECT_FAILS(open_bytes(good + "x"), kCorrupt, "bytes long instead of");
    bad[30] ^= 1;
    EXPECT_FAILS(open_bytes(bad), kCorrupt, "header's checksum");
    bad = good;
    bad[73 * 4096 + 3] ^= 1;
    EXPECT_FAILS(open_bytes(bad), kCorrupt, "index's checksum");
}

TEST(LayerFile, NewerFormatsAreUnsupportedAndOldReadersIgnoreCompatFlags) {
    using std::string_view_literals::operator""sv;
    EXPECT_FAILS(open_bytes(with_header_bytes(8, "\2\0\0\0"sv)), kUnsupported, "version 2");
    EXPECT_FAILS(open_bytes(with_header_bytes(16, "\1\0\0\0"sv)), kUnsupported, "flags 0x1");
    EXPECT_OK(open_bytes(with_header_bytes(12, "\1\0\0\0"sv)));
    EXPECT_FAILS(open_bytes(with_header_bytes(20, "\0\2\0\0"sv)), kCorrupt, "block size 512");
}

TEST(LayerFile, ImpossibleHeadersAreRefused) {
    EXPECT_FAILS(open_bytes(with_header([](LayerInfo& i) { i.identity.virtual_blocks = 0; })),
                 kCorrupt, "a disk of 0 blocks");
    EXPECT_FAILS(open_bytes(with_header(
                     [](LayerInfo& i) { i.identity.virtual_blocks = (uint64_t{1} << 32) + 1; })),
                 kCorrupt, "a disk of 4294967297 blocks");
    EXPECT_FAILS(open_bytes(with_header([](LayerInfo& i) { i.identity.virtual_blocks = 71; })),
                 kCorrupt, "72 data blocks for a disk of 71");
    EXPECT_FAILS(open_bytes(with_header([](LayerInfo& i) { i.data_blocks = 71; })), kCorrupt,
                 "bytes long instead of");
    EXPECT_FAILS(open_bytes(with_header([](LayerInfo& i) { i.extent_count = UINT32_MAX; })),
                 kCorrupt, "4294967295 extents");
    EXPECT_FAILS(open_bytes(with_header([](LayerInfo& i) { i.identity.chain_id = {}; })), kCorrupt,
                 "no chain ID");
}

TEST(LayerFile, ImpossibleExtentsAreRefused) {
    using Extents = std::vector<LayerExtent>;
    EXPECT_FAILS(open_bytes(with_index([](Extents& e) { e[1].lba = 72; })), kCorrupt,
                 "extent 1 (block 72, 2 long): it isn't behind");
    EXPECT_FAILS(open_bytes(with_index([](Extents& e) { e[3].lba = 1024; })), kCorrupt,
                 "outside the disk");
    EXPECT_FAILS(open_bytes(with_index([](Extents& e) { e[1].blocks = 0; })), kCorrupt, "empty");
    EXPECT_FAILS(open_bytes(with_index([](Extents& e) { e[2].offset = 70; })), kCorrupt,
                 "isn't behind the data before");
    EXPECT_FAILS(open_bytes(with_index([](Extents& e) { e[1].kind = ExtentKind{3}; })), kCorrupt,
                 "type is unknown");
    EXPECT_FAILS(open_bytes(with_index([](Extents& e) { e[0].blocks = 69; })), kCorrupt,
                 "isn't behind the data before");
    EXPECT_FAILS(open_bytes(with_index([](Extents& e) {
                     e[3] = {1023, 1, ExtentKind::kZero, 0};
                 })),
                 kCorrupt, "its extents hold 71 data blocks, its header says 72");
}

TEST(LayerFile, VerifyFindsEveryFlippedBit) {
    const std::string good = good_file();
    const auto verify = [](const std::string& content) -> Status {
        TRY_ASSIGN(const LayerFile layer, open_bytes(content));
        return layer.verify();
    };
    ASSERT_OK(verify(good));
    std::string bad = good;
    bad[70 * 4096 + 17] ^= 4;
    EXPECT_FAILS(verify(bad), kCorrupt, "data block 69 does not match");
    bad = good;
    bad[good.size() - 4096 + 5] ^= 4;
    EXPECT_FAILS(verify(bad), kCorrupt, "trailer");
    bad = good;
    bad[74 * 4096 + 72 * 4 + 3] ^= 4;
    EXPECT_FAILS(verify(bad), kCorrupt, "sums section");
    EXPECT_FAILS(verify(with_header([](LayerInfo& i) { i.merkle_root.bytes[0] ^= 1; })), kCorrupt,
                 "Merkle root");
    EXPECT_FAILS(verify(with_header([](LayerInfo& i) { i.uuid[0] ^= 1; })), kCorrupt, "UUID");
}

/// A top of 16 blocks, with data at 0 (where a packed layer has its header), 5 and 6, zeroes at 9.
Fd sealed_top() {
    Fd file = memory_file();
    BlockMap map(16);
    for (const uint64_t lba : {0, 5, 6}) {
        EXPECT_OK(write_exact(file.get(), stamped(50 + lba), lba * 4096));
        map.set(lba, 1, BlockState::kData);
    }
    map.set(9, 1, BlockState::kZero);
    EXPECT_EQ(::ftruncate(file.get(), 16 * 4096), 0);
    const LayerIdentity identity{test::digest_number(2), test::digest_number(1), {}, 16};
    EXPECT_OK(write_sparse_layer(file.get(), identity, Uuid{0xD0, 1, 2, 3}, map));
    return file;
}

TEST(SealedTop, GoldenFileIsReadAndReproducedByteForByte) {
    const std::string path = DRUPE_SOURCE_DIR "/tests/golden/sealed-top-v1.drupe";
    const std::string made = content_of(sealed_top().get());
    if (std::getenv("DRUPE_WRITE_GOLDEN") != nullptr) {
        std::ofstream(path, std::ios::binary) << made;
    }
    const std::string golden = value_of(read_file(path, 1 << 20));
    EXPECT_EQ(golden == made, true) << "the writer's output has changed: a new version";
    const LayerFile layer = value_of(LayerFile::open(memory_file(golden), path));
    EXPECT_OK(layer.verify());
    const std::vector<LayerExtent> expected{
        {0, 1, ExtentKind::kData, 0}, {5, 2, ExtentKind::kData, 5}, {9, 1, ExtentKind::kZero, 0}};
    EXPECT_TRUE(std::ranges::equal(layer.extents(), expected));
    EXPECT_EQ(layer.info().form, LayerForm::kSparse);
    EXPECT_EQ(layer.info().data_blocks, 3U);
    EXPECT_EQ(layer.info().data_begin(), 0U);
    EXPECT_EQ(layer.info().data_end(), 16U);
    EXPECT_EQ(layer.info().stored_bytes(), 5 * 4096U);
    EXPECT_EQ(layer.info().file_bytes, 18 * 4096U);
}

TEST(SealedTop, DamageIsFoundAtOpen) {
    const std::string good = content_of(sealed_top().get());
    std::string bad = good;
    bad[16 * 4096 + 3] ^= 1;
    EXPECT_FAILS(open_bytes(bad), kCorrupt, "index's checksum");
    bad = good;
    bad[17 * 4096 + 30] ^= 1;  // no valid header at the end: block 0 is looked at, a guest's
    EXPECT_FAILS(open_bytes(bad), kCorrupt, "magic");
    bad = good;
    bad.insert(0, 4096, '\0');
    EXPECT_FAILS(open_bytes(bad), kCorrupt, "bytes long instead of");
}

TEST(SealedTop, ItsFirstBlockIsNeverTakenForAHeader) {
    const std::string header = good_file().substr(0, 4096);
    std::string hostile = content_of(sealed_top().get());
    hostile.replace(0, 4096, header);
    const LayerFile layer = value_of(open_bytes(hostile));
    EXPECT_EQ(layer.info().form, LayerForm::kSparse);
    EXPECT_EQ(layer.info().identity.virtual_blocks, 16U);
}

}  // namespace
}  // namespace drupe::imagefs
