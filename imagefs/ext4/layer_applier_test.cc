#include "imagefs/ext4/layer_applier.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <locale.h>

#include "imagefs/ext4/test_image.h"

namespace drupe::imagefs::ext4 {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kBlocks = 1 << 20;  // 4 GiB.

class LayerApplierTest : public testing::Test {
  protected:
    std::vector<std::string> list(std::string_view path) {
        auto names = image_.reader().list(path);
        EXPECT_TRUE(names) << names.error().message;
        return names ? names.value() : std::vector<std::string>{"?"};
    }
    ImageReader::Info stat(std::string_view path) {
        auto info = image_.reader().stat(path);
        EXPECT_TRUE(info) << info.error().message;
        return info ? info.value() : ImageReader::Info{};
    }
    std::string content(std::string_view path) {
        auto text = image_.reader().read_file(path, 64 << 20);
        EXPECT_TRUE(text) << text.error().message;
        return text ? text.value() : "?";
    }
    std::string refusal(std::string tar, const ApplyLimits& limits = {}) {
        const auto result = image_.apply(std::move(tar), limits);
        EXPECT_FALSE(result);
        return result ? "accepted" : result.error().message;
    }

    TestImage image_{kBlocks};
};

TEST_F(LayerApplierTest, EveryKindOfEntryKeepsItsMetadata) {
    Entry file{.path = "bin/tool", .mode = 06755, .uid = 3'000'000'000, .gid = 70'001};
    file.mtime = 1'234'567'890;
    file.mtime_ns = 123'456'789;
    file.xattrs = {{"user.note", std::string("a\0b", 3)}};
    Entry device{.path = "dev/big", .type = EntryType::kCharDevice, .mode = 0600};
    device.device_major = 300;
    device.device_minor = 70'000;
    Entry fifo{.path = "run/pipe", .type = EntryType::kFifo, .mode = 0622};
    const std::string far(300, 'x');
    image_.must_apply(TarBuilder()
                          .directory(".", 0711)
                          .add(file, "#!/bin/sh\n")
                          .add(device)
                          .add(fifo)
                          .symlink("short", "bin/tool")
                          .symlink("long", far)
                          .hardlink("bin/other", "bin/tool")
                          .finish());
    const auto tool = stat("bin/tool");
    EXPECT_EQ(tool.entry.mode, 06755U);
    EXPECT_EQ(tool.entry.uid, 3'000'000'000);
    EXPECT_EQ(tool.entry.gid, 70'001U);
    EXPECT_EQ(tool.entry.mtime, 1'234'567'890);
    EXPECT_EQ(tool.entry.mtime_ns, 123'456'789U);
    EXPECT_EQ(tool.entry.xattrs, file.xattrs);
    EXPECT_EQ(tool.links, 2U);
    EXPECT_EQ(stat("bin/other").inode, tool.inode);
    EXPECT_EQ(content("bin/other"), "#!/bin/sh\n");
    EXPECT_EQ(stat("dev/big").entry.device_major, 300U);
    EXPECT_EQ(stat("dev/big").entry.device_minor, 70'000U);
    EXPECT_EQ(stat("run/pipe").entry.type, EntryType::kFifo);
    EXPECT_EQ(stat("short").entry.target, "bin/tool");
    EXPECT_EQ(stat("long").entry.target, far);
    EXPECT_EQ(stat("/").entry.mode, 0711U);
    EXPECT_EQ(stat("run").entry.mode, 0755U) << "a directory without an entry of its own";
}

TEST_F(LayerApplierTest, TimesBeforeAndFarAfterTodaySurvive) {
    Entry old{.path = "old"};
    old.mtime = -1'000;
    Entry future{.path = "future"};
    future.mtime = 10'000'000'000;
    image_.must_apply(TarBuilder().add(old).add(future).finish());
    EXPECT_EQ(stat("old").entry.mtime, -1'000);
    EXPECT_EQ(stat("future").entry.mtime, 10'000'000'000);
}

/// A PAX header as Go's archive/tar writes it: UTF-8 without "hdrcharset".
std::string with_pax_path(const std::string& path) {
    std::string record = " path=" + path + "\n";
    record = std::to_string(record.size() + 2) + record;
    const auto block = [](std::string name, size_t size, char type) {
        std::string header(512, '\0');
        header.replace(0, name.size(), name);
        header.replace(100, 7, "0000644");
        header.replace(108, 7, "0000000");
        header.replace(116, 7, "0000000");
        header.replace(124, 11, fmt::format("{:011o}", size));
        header.replace(136, 11, "00000000001");
        header[156] = type;
        header.replace(257, 8, std::string("ustar\00000", 8));
        header.replace(148, 8, "        ");
        unsigned sum = 0;
        for (const char c : header) sum += static_cast<unsigned char>(c);
        header.replace(148, 7, fmt::format("{:06o}", sum) + std::string(1, '\0'));
        return header;
    };
    std::string tar = block("PaxHeaders.0/x", record.size(), 'x') + record;
    tar.resize((tar.size() + 511) / 512 * 512);
    return tar + block("fallback", 0, '0') + std::string(1024, '\0');
}

TEST_F(LayerApplierTest, PaxNamesAreBytesInAnyLocale) {
    const std::string nfd = "F\x6f\xcc\x8b.crt";
    const locale_t utf8 = newlocale(LC_ALL_MASK, "C.UTF-8", nullptr);
    const locale_t old = uselocale(utf8);
    image_.must_apply(with_pax_path(nfd));
    image_.must_apply(with_pax_path("bad\xe9"));
    uselocale(old);
    freelocale(utf8);
    EXPECT_THAT(list("/"), ElementsAre(nfd, "bad\xe9"));
}

TEST_F(LayerApplierTest, NamesAreBytes) {
    const std::string nfd = "F\x6f\xcc\x8b.crt";  // "ő" as two code points: must not become one.
    const std::string latin1 = "caf\xe9";
    image_.must_apply(TarBuilder().file(nfd, "1").file(latin1, "2").finish());
    EXPECT_THAT(list("/"), ElementsAre(nfd, latin1));
}

TEST_F(LayerApplierTest, AWhiteoutRemovesAFileAndATree) {
    image_.must_apply(TarBuilder().file("a/b/c", "x").file("a/d", "y").file("e", "z").finish());
    image_.must_apply(TarBuilder()
                          .file("a/.wh.b", "")
                          .file(".wh.e", "")
                          .file(".wh.nothing", "")
                          .file("none/.wh.x", "")
                          .finish());
    EXPECT_THAT(list("/"), ElementsAre("a"));
    EXPECT_THAT(list("a"), ElementsAre("d"));
}

TEST_F(LayerApplierTest, WhiteoutsSpareEntriesOfTheSameLayerWhateverTheOrder) {
    image_.must_apply(
        TarBuilder().file("d/low", "1").file("d/sub/low", "2").file("d/both", "3").finish());
    image_.must_apply(TarBuilder()
                          .file("d/new", "4")
                          .file("d/sub/new", "5")
                          .file("d/.wh..wh..opq", "")
                          .file("d/later", "6")
                          .finish());
    EXPECT_THAT(list("d"), ElementsAre("later", "new", "sub"));
    EXPECT_THAT(list("d/sub"), ElementsAre("new"));
    image_.must_apply(TarBuilder().file("d/sub/x", "").file("d/.wh.sub", "").finish());
    EXPECT_THAT(list("d/sub"), ElementsAre("x"));
}

TEST_F(LayerApplierTest, AnOpaqueDirectoryLosesLowerHardLinksOnly) {
    image_.must_apply(TarBuilder().file("d/a", "content").finish());
    image_.must_apply(TarBuilder().hardlink("d/b", "d/a").file("d/.wh..wh..opq", "").finish());
    EXPECT_THAT(list("d"), ElementsAre("b"));
    EXPECT_EQ(content("d/b"), "content");
    EXPECT_EQ(stat("d/b").links, 1U);
}

TEST_F(LayerApplierTest, ReplacingOneOfTwoHardLinksLeavesTheOther) {
    image_.must_apply(TarBuilder().file("a", "old").hardlink("b", "a").finish());
    image_.must_apply(TarBuilder().file("a", "new").finish());
    EXPECT_EQ(content("a"), "new");
    EXPECT_EQ(content("b"), "old");
    EXPECT_EQ(stat("b").links, 1U);
}

TEST_F(LayerApplierTest, HardLinksMayComeBeforeTheirTargets) {
    image_.must_apply(
        TarBuilder().hardlink("a", "b").hardlink("b", "c/d").file("c/d", "end").finish());
    EXPECT_EQ(content("a"), "end");
    EXPECT_EQ(stat("a").links, 3U);
    EXPECT_THAT(refusal(TarBuilder().hardlink("x", "missing").finish()),
                HasSubstr("'x': a hard link to 'missing', which does not exist"));
}

TEST_F(LayerApplierTest, AHardLinkMayReplaceTheDirectoryThatItsTargetWasIn) {
    image_.must_apply(TarBuilder().file("d/x", "1").finish());
    EXPECT_THAT(refusal(TarBuilder().hardlink("d", "d/x").finish()),
                HasSubstr("'d/x', which does not exist"));
}

TEST_F(LayerApplierTest, TheLaterOfTwoEntriesCountsAndTypesMayChange) {
    image_.must_apply(TarBuilder().file("x", "file").directory("y").file("y/z", "").finish());
    image_.must_apply(TarBuilder()
                          .directory("x")
                          .file("x/in", "1")
                          .file("x/in", "22")
                          .file("y", "now a file")
                          .finish());
    EXPECT_EQ(content("x/in"), "22");
    EXPECT_EQ(content("y"), "now a file");
}

TEST_F(LayerApplierTest, ADirectoryEntryReplacesASymlinkToADirectory) {
    image_.must_apply(TarBuilder().directory("usr/lib").symlink("lib", "usr/lib").finish());
    image_.must_apply(TarBuilder().directory("lib").file("lib/x", "").finish());
    EXPECT_EQ(stat("lib").entry.type, EntryType::kDirectory);
    EXPECT_THAT(list("usr/lib"), IsEmpty());
}

TEST_F(LayerApplierTest, ParentsThatAreSymlinksResolveInsideTheImage) {
    image_.must_apply(TarBuilder()
                          .directory("usr/lib")
                          .symlink("lib", "/usr/lib")
                          .symlink("up", "../../../../../usr")
                          .symlink("dangling", "not/yet")
                          .file("lib/a", "")
                          .file("up/lib/b", "")
                          .file("dangling/c", "")
                          .file("../../../../etc/passwd", "root")
                          .file("/abs", "")
                          .file("usr/../usr/lib/../lib/d", "")
                          .finish());
    EXPECT_THAT(list("usr/lib"), ElementsAre("a", "b", "d"));
    EXPECT_THAT(list("not/yet"), ElementsAre("c"));
    EXPECT_EQ(content("etc/passwd"), "root");
    EXPECT_THAT(list("/"), testing::Contains("abs"));
}

TEST_F(LayerApplierTest, TheLastComponentIsNeverFollowed) {
    image_.must_apply(TarBuilder().file("target", "safe").symlink("link", "target").finish());
    image_.must_apply(TarBuilder().file("link", "new").finish());
    EXPECT_EQ(content("target"), "safe");
    EXPECT_EQ(content("link"), "new");
}

TEST_F(LayerApplierTest, ASymlinkSwappedForADirectoryTakesEffectAtOnce) {
    image_.must_apply(TarBuilder()
                          .directory("real")
                          .directory("d")
                          .file("d/one", "")
                          .symlink("d", "real")
                          .file("d/two", "")
                          .finish());
    EXPECT_THAT(list("real"), ElementsAre("two"));
    EXPECT_EQ(stat("d").entry.type, EntryType::kSymlink);
}

TEST_F(LayerApplierTest, SymlinkLoopsAndFilesAsParentsAreRefused) {
    EXPECT_THAT(refusal(TarBuilder().symlink("a", "b").symlink("b", "a").file("a/x", "").finish()),
                HasSubstr("layer entry 'a/x': too many symlinks"));
    TestImage other(kBlocks);
    const auto result = other.apply(TarBuilder().file("f", "").file("f/x", "").finish());
    ASSERT_FALSE(result);
    EXPECT_THAT(result.error().message, HasSubstr("'f' on the way to it is not a directory"));
}

TEST_F(LayerApplierTest, CapabilitiesAndAclsAreStoredAndBadOnesRefused) {
    const std::string capability(
        "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00"
        "\x00\x00\x00\x00\x00\x00\x00\x00",
        20);
    std::string acl("\x02\x00\x00\x00", 4);
    const auto add = [&](uint16_t tag, uint16_t permissions, uint32_t id) {
        acl.append(reinterpret_cast<const char*>(&tag), 2);
        acl.append(reinterpret_cast<const char*>(&permissions), 2);
        acl.append(reinterpret_cast<const char*>(&id), 4);
    };
    add(1, 6, ~0U);
    add(2, 4, 70'000);
    add(4, 4, ~0U);
    add(16, 4, ~0U);
    add(32, 0, ~0U);
    Entry entry{.path = "f"};
    entry.xattrs = {{"security.capability", capability},
                    {"system.posix_acl_access", acl},
                    {"com.example.unknown", "left out"}};
    image_.must_apply(TarBuilder().add(entry, "x").finish());
    entry.xattrs.pop_back();
    EXPECT_EQ(stat("f").entry.xattrs, entry.xattrs);

    entry.xattrs = {{"system.posix_acl_access", acl.substr(0, 12)}};
    EXPECT_THAT(refusal(TarBuilder().add(entry, "x").finish()),
                HasSubstr("layer entry 'f': a malformed POSIX ACL"));
    TestImage other(kBlocks);
    entry.xattrs = {{"user.large", std::string(5000, 'x')}};
    const auto large = other.apply(TarBuilder().add(entry, "x").finish());
    ASSERT_FALSE(large);
    EXPECT_EQ(large.error().code, ErrorCode::kLimit);
    EXPECT_THAT(large.error().message, HasSubstr("'f': set user.large: too large for ext4"));
}

TEST_F(LayerApplierTest, ANewDirectoryEntryReplacesTheAttributes) {
    Entry entry{.path = "d", .type = EntryType::kDirectory, .mode = 0700};
    entry.xattrs = {{"user.a", "1"}, {"user.b", std::string(900, 'b')}};
    image_.must_apply(TarBuilder().add(entry).finish());
    entry.xattrs = {{"user.c", "3"}};
    image_.must_apply(TarBuilder().add(entry).finish());
    EXPECT_EQ(stat("d").entry.xattrs, entry.xattrs);
}

TEST_F(LayerApplierTest, ALayerThatOnlyTouchesAFileRewritesItInPlace) {
    const std::string data(3 << 20, 'd');
    image_.must_apply(TarBuilder().file("big", data).file("b2", data).finish());
    const uint32_t before = stat("big").inode;
    const uint64_t allocated = image_.allocated_bytes();
    std::string changed = data;
    changed[2'000'000] = 'e';
    const auto stats = image_.apply(TarBuilder().file("big", changed, 0600).finish());
    ASSERT_TRUE(stats) << stats.error().message;
    EXPECT_EQ(stats.value().rewritten_in_place, 1U);
    EXPECT_EQ(image_.problems(), "");
    EXPECT_EQ(stat("big").inode, before);
    EXPECT_EQ(stat("big").entry.mode, 0600U);
    EXPECT_EQ(content("big"), changed);
    EXPECT_LT(image_.allocated_bytes(), allocated + 100'000);
}

TEST_F(LayerApplierTest, RunsOfZeroesBecomeHoles) {
    std::string data(40 << 20, '\0');
    data[20 << 20] = 'x';
    data += "end";
    const uint64_t before = image_.allocated_bytes();
    image_.must_apply(TarBuilder().file("sparse", data).finish());
    EXPECT_EQ(content("sparse"), data);
    EXPECT_LT(image_.allocated_bytes(), before + 500'000);
    data[30 << 20] = 'y';
    image_.must_apply(TarBuilder().file("sparse", data).finish());
    EXPECT_EQ(content("sparse"), data);
}

TEST_F(LayerApplierTest, LargeDirectoriesAreHashTreesThatGrowAndShrink) {
    TarBuilder many;
    constexpr int kCount = 60'000;
    for (int i = 0; i < kCount; ++i) many.file(fmt::format("d/name-of-file-{}", i), "");
    for (int i = 0; i < 300; ++i) many.directory(fmt::format("d/dir{}", i));
    image_.must_apply(many.finish());
    EXPECT_EQ(list("d").size(), kCount + 300U);
    EXPECT_EQ(stat("d").links, 302U);
    TarBuilder fewer;
    for (int i = 0; i < kCount; i += 2) fewer.file(fmt::format("d/.wh.name-of-file-{}", i), "");
    image_.must_apply(fewer.finish());
    EXPECT_EQ(list("d").size(), kCount / 2 + 300U);
    image_.must_apply(TarBuilder().file("d/.wh..wh..opq", "").file("d/one", "").finish());
    EXPECT_THAT(list("d"), ElementsAre("one"));
}

TEST_F(LayerApplierTest, LimitsNameTheEntry) {
    EXPECT_THAT(refusal(TarBuilder().file(std::string(256, 'n'), "").finish()),
                HasSubstr("longer than 255 bytes"));
    std::string deep;
    for (int i = 0; i < 1100; ++i) deep += "d/";
    EXPECT_THAT(refusal(TarBuilder().file(deep + "f", "").finish()), HasSubstr("deeper than 1024"));
    EXPECT_THAT(refusal(TarBuilder().file(std::string(5000, '/') + "f", "").finish()),
                HasSubstr("longer than 4096"));
    EXPECT_THAT(refusal(TarBuilder().file("a", "").file("b", "").file("c", "").finish(),
                        {.max_entries = 2}),
                HasSubstr("layer entry 'c': the layer has more than 2 entries"));
    EXPECT_THAT(refusal(TarBuilder().file("a", std::string(100'000, 'x')).finish(),
                        {.max_content_bytes = 50'000}),
                HasSubstr("more than 50000 bytes"));
}

TEST_F(LayerApplierTest, SymlinksCannotBuildDirectoriesDeeperThanTheLimit) {
    TarBuilder tar;
    std::string deep = "r";
    for (int i = 0; i < 900; ++i) deep += "/d";
    tar.directory(deep).symlink("l", deep).directory("l/" + deep);
    EXPECT_THAT(refusal(tar.finish()), HasSubstr("too deep"));
}

TEST_F(LayerApplierTest, DamagedTarsAreErrors) {
    const std::string good = TarBuilder().file("a", std::string(100'000, 'x')).finish();
    EXPECT_THAT(refusal(good.substr(0, 60'000)), HasSubstr("'a': read its content"));
    std::string flipped = good;
    flipped[100] = '7';
    EXPECT_THAT(refusal(flipped), HasSubstr("tar"));
    EXPECT_THAT(refusal(std::string(100'000, 'g')), HasSubstr("tar"));
}

TEST_F(LayerApplierTest, AnEmptyLayerChangesNothing) {
    image_.must_apply("");
    image_.must_apply(TarBuilder().finish());
    EXPECT_THAT(list("/"), IsEmpty());
}

TEST_F(LayerApplierTest, OwnersThatAreMinusOneAreRefused) {
    Entry entry{.path = "f", .uid = 0xffffffff};
    EXPECT_THAT(refusal(TarBuilder().add(entry).finish()), HasSubstr("'f': its owner"));
}

TEST_F(LayerApplierTest, AFullDiskIsALimit) {
    TestImage tiny(1 << 16);  // 256 MiB.
    const auto result = tiny.apply(TarBuilder().file("f", std::string(300 << 20, 'x')).finish());
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::kLimit);
    EXPECT_THAT(result.error().message,
                HasSubstr("'f': allocate blocks: the image's disk is full"));
}

}  // namespace
}  // namespace drupe::imagefs::ext4
