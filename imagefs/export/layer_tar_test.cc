#include "imagefs/export/layer_tar.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>
#include <vector>

#include "imagefs/diff/docker_diff.h"
#include "imagefs/ext4/test_image.h"
#include "imagefs/store/layered_disk.h"

namespace drupe::imagefs {
namespace {

using ext4::Entry;
using ext4::EntryType;
using ext4::TarBuilder;
using ext4::TestImage;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kBlocks = 40'000;

std::unique_ptr<BlockBackend> disk_of(const TestImage& image) {
    auto file = open_file(image.path(), O_RDONLY);
    EXPECT_TRUE(file);
    auto disk = open_raw_disk(std::move(file).value(), true);
    EXPECT_TRUE(disk) << disk.error().message;
    return std::move(disk).value();
}

TreeDiff diff_of(const TestImage& before, const TestImage& after) {
    auto diff = TreeDiff::open(make_unrelated_pair(disk_of(before), disk_of(after)));
    EXPECT_TRUE(diff) << diff.error().message;
    return std::move(diff).value();
}

std::string layer_of(const TestImage& before, const TestImage& after) {
    TreeDiff diff = diff_of(before, after);
    std::string tar;
    const auto done = write_layer_tar(diff, [&](std::string_view bytes) -> Status {
        tar += bytes;
        return ok();
    });
    EXPECT_TRUE(done) << done.error().message;
    return tar;
}

std::vector<std::string> said(const TestImage& before, const TestImage& after) {
    TreeDiff diff = diff_of(before, after);
    std::vector<std::string> lines;
    DockerDiff docker(diff, [&](char kind, std::string_view path) -> Status {
        lines.push_back(kind + (" " + std::string(path)));
        return ok();
    });
    const auto done = diff.walk([&](const Change& change) { return docker.add(change); });
    EXPECT_TRUE(done) << done.error().message;
    return lines;
}

Entry entry(std::string path, EntryType type) {
    Entry made;
    made.path = std::move(path);
    made.type = type;
    made.mode = 0640;
    made.mtime = 1'600'000'000;
    made.mtime_ns = 123'456'789;
    return made;
}

std::string base_tar() {
    TarBuilder tar;
    tar.directory("etc/").file("etc/passwd", "root").file("etc/motd", "hello");
    tar.directory("srv/").directory("srv/old/").file("srv/old/a", "1").file("srv/old/b", "2");
    tar.file("srv/file-then-folder", "x").directory("srv/folder-then-file/");
    tar.file("srv/folder-then-file/in", "y").file("srv/one", "linked");
    tar.hardlink("srv/two", "srv/one").symlink("etc/link", "passwd");
    return tar.finish();
}

/// Every kind of change that a layer can say.
std::string change_tar() {
    TarBuilder tar;
    tar.file("etc/motd", "another text", 0600).file("etc/.wh.link", "");
    tar.directory("new/", 01777);
    Entry special = entry("new/device", EntryType::kCharDevice);
    special.device_major = 300;
    special.device_minor = 70'000;
    tar.add(special).add(entry("new/pipe", EntryType::kFifo));
    Entry rich = entry("new/" + std::string(200, 'n'), EntryType::kFile);
    rich.uid = 3'000'000'000;
    rich.gid = 70'000;
    rich.size = 5;
    rich.xattrs = {
        {"security.capability", std::string("\1\0\0\2\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20)},
        {"user.note", std::string("a\0b", 3)}};
    tar.add(rich, "12345");
    tar.symlink("new/long", std::string(300, 't'));
    tar.file("new/first", "several names").hardlink("new/second", "new/first");
    tar.file("srv/.wh.file-then-folder", "").directory("srv/file-then-folder/");
    tar.file("srv/file-then-folder/in", "z");
    tar.file("srv/.wh.folder-then-file", "").file("srv/folder-then-file", "now a file");
    std::string large(300'000, '\0');
    large.replace(100'000, 7, "content");
    tar.file("new/holes", large);
    return tar.finish();
}

TEST(LayerTarTest, AppliedToWhatWasItGivesWhatIs) {
    TestImage empty(kBlocks);
    TestImage before(kBlocks);
    TestImage after(kBlocks);
    TestImage again(kBlocks);
    before.must_apply(base_tar());
    after.must_apply(base_tar());
    after.must_apply(change_tar());
    again.must_apply(base_tar());
    again.must_apply(layer_of(before, after));
    // All of the tree, with every attribute, as bytes.
    const std::string expected = layer_of(empty, after);
    EXPECT_GT(expected.size(), 300'000U);
    EXPECT_EQ(layer_of(empty, again), expected);
}

TEST(LayerTarTest, TheSameBytesForTheSameDisks) {
    TestImage before(kBlocks);
    TestImage after(kBlocks);
    before.must_apply(base_tar());
    after.must_apply(base_tar());
    after.must_apply(change_tar());
    EXPECT_EQ(layer_of(before, after), layer_of(before, after));
}

TEST(LayerTarTest, AFileWhoseNameMeansAWhiteoutIsRefusedByName) {
    TestImage empty(kBlocks);
    TestImage after(kBlocks);
    after.must_apply(TarBuilder().directory("d/").file("d/xwh.name", "").finish());
    // A tar can't bring such a name; a guest can.
    const Fd file = open_file(after.path(), O_RDWR).value();
    const std::string image = read_file(after.path(), size_t{kBlocks} * 4096).value();
    const size_t at = image.find("xwh.name");
    ASSERT_NE(at, std::string::npos);
    ASSERT_TRUE(write_exact(file.get(), std::as_bytes(std::span(".", 1)), at));
    TreeDiff diff = diff_of(empty, after);
    const auto done = write_layer_tar(diff, [](std::string_view) -> Status { return ok(); });
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, ErrorCode::kUnsupported);
    EXPECT_THAT(done.error().message, HasSubstr("/d/.wh.name"));
}

TEST(LayerTarTest, MoreContentThanTheLimitIsRefusedByName) {
    TestImage empty(kBlocks);
    TestImage after(kBlocks);
    after.must_apply(TarBuilder().file("large", std::string(10'000, 'x')).finish());
    TreeDiff diff = diff_of(empty, after);
    const auto done =
        write_layer_tar(diff, [](std::string_view) -> Status { return ok(); }, {9'999});
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, ErrorCode::kLimit);
    EXPECT_THAT(done.error().message, HasSubstr("/large"));
}

TEST(DockerDiffTest, SaysWhatStatShowsWithTheFoldersAbove) {
    TestImage before(kBlocks);
    TestImage after(kBlocks);
    before.must_apply(base_tar());
    after.must_apply(base_tar());
    TarBuilder tar;
    tar.file("etc/motd", "another text").file("srv/old/.wh.a", "").directory("srv/new/");
    tar.file("srv/new/c", "");
    after.must_apply(tar.finish());
    EXPECT_THAT(said(before, after), ElementsAre("C /etc", "C /etc/motd", "C /srv", "A /srv/new",
                                                 "A /srv/new/c", "C /srv/old", "D /srv/old/a"));
}

TEST(DockerDiffTest, NothingChanged) {
    TestImage before(kBlocks);
    before.must_apply(base_tar());
    EXPECT_THAT(said(before, before), ElementsAre());
}

TEST(DockerDiffTest, AFolderInPlaceOfAFileAndTheOtherWayRound) {
    TestImage before(kBlocks);
    TestImage after(kBlocks);
    before.must_apply(base_tar());
    after.must_apply(base_tar());
    after.must_apply(change_tar());
    const auto lines = said(before, after);
    EXPECT_THAT(lines,
                ::testing::IsSupersetOf({"C /srv/file-then-folder", "A /srv/file-then-folder/in",
                                         "C /srv/folder-then-file", "D /etc/link"}));
    EXPECT_THAT(lines, ::testing::Not(::testing::Contains("D /srv/folder-then-file/in")));
}

}  // namespace
}  // namespace drupe::imagefs
