#include "archive/unpack.h"

#include <cerrno>

#include "archive/testing.h"

namespace drupe::archive {
namespace {

using testing::file;
using testing::Folder;
using testing::of_type;
using testing::tar_of;

UnpackOptions mine() {
    UnpackOptions options;
    options.uid = ::getuid();
    options.gid = ::getgid();
    return options;
}

std::string unpack_all(const Folder& to, const std::vector<Entry>& entries,
                       const UnpackOptions& options = mine()) {
    const Fd tar = tar_of(entries);
    const auto done = unpack(tar.get(), to.fd(), options);
    return done ? "" : done.error().message;
}

/// A folder in a folder: whatever gets out of the inner one is seen.
class HostileArchive : public ::testing::Test {
  protected:
    HostileArchive() {
        EXPECT_EQ(::mkdir((outer_ / "in").c_str(), 0755), 0);
        inner_ = Fd(::open((outer_ / "in").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        outer_.write("victim", "safe");
    }
    std::string attack(const std::vector<Entry>& entries) {
        const Fd tar = tar_of(entries);
        const auto done = unpack(tar.get(), inner_.get(), mine());
        EXPECT_EQ(outer_.read("victim"), "safe");
        EXPECT_EQ(std::distance(std::filesystem::directory_iterator(outer_ / ""), {}), 2);
        return done ? "" : done.error().message;
    }
    Folder outer_;
    Fd inner_;
};

TEST_F(HostileArchive, NamesThatLeadOutAreRefused) {
    for (const char* name : {"../victim", "a/../../victim", "..", "./../victim", "a/.."}) {
        EXPECT_NE(attack({file(name)}).find("leads out"), std::string::npos) << name;
    }
}

TEST_F(HostileArchive, AnAbsoluteNameIsBelowTheFolder) {
    EXPECT_EQ(attack({file("/abs/file")}), "");
    EXPECT_TRUE(std::filesystem::exists(outer_ / "in/abs/file"));
}

TEST_F(HostileArchive, ALinkOfTheArchiveIsNoWayOut) {
    EXPECT_NE(attack({of_type(Type::kSymlink, "l", ".."), file("l/victim")}), "");
    EXPECT_NE(attack({of_type(Type::kSymlink, "m", outer_ / ""), file("m/victim")}), "");
    // Over the link, not through it.
    EXPECT_EQ(attack({of_type(Type::kSymlink, "n", "../victim"), file("n")}), "");
    EXPECT_TRUE(std::filesystem::is_regular_file(std::filesystem::symlink_status(outer_ / "in/n")));
    EXPECT_NE(attack({of_type(Type::kSymlink, "o", ".."), of_type(Type::kDirectory, "o")}), "");
}

TEST_F(HostileArchive, AFolderThatBecomesALinkIsNoWayOut) {
    EXPECT_NE(attack({of_type(Type::kDirectory, "d"), file("d/a"),
                      of_type(Type::kSymlink, "d", ".."), file("d/victim")}),
              "");
}

TEST_F(HostileArchive, AHardLinkCantReachOut) {
    EXPECT_NE(attack({of_type(Type::kHardLink, "h", "../victim")}), "");
    EXPECT_NE(attack({of_type(Type::kHardLink, "h", outer_ / "victim")}), "");
    EXPECT_NE(
        attack({of_type(Type::kSymlink, "l", ".."), of_type(Type::kHardLink, "h", "l/victim")}),
        "");
    // To the link itself, which stays one.
    (void)attack(
        {of_type(Type::kSymlink, "k", "../victim"), of_type(Type::kHardLink, "h", "k"), file("h")});
    EXPECT_NE(attack({of_type(Type::kHardLink, "h", ".")}), "");
}

TEST_F(HostileArchive, DevicesArentMadeAndPrivilegesArentTaken) {
    Entry privileged = file("suid");
    privileged.mode = 06755;
    const Fd tar = tar_of({of_type(Type::kCharDevice, "null"), privileged});
    const auto done = unpack(tar.get(), inner_.get(), mine());
    ASSERT_TRUE(done.has_value()) << done.error().message;
    EXPECT_EQ(done.value().skipped, 1U);
    EXPECT_FALSE(std::filesystem::exists(outer_ / "in/null"));
    struct stat status {};
    ASSERT_EQ(::stat((outer_ / "in/suid").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0755U);
}

TEST_F(HostileArchive, TheFolderItselfStaysAsItIs) {
    Entry top = of_type(Type::kDirectory, ".");
    top.mode = 0777;
    EXPECT_EQ(attack({top}), "");
    struct stat status {};
    ASSERT_EQ(::fstat(inner_.get(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0755U);
    EXPECT_NE(attack({file(".")}), "");
}

TEST(Unpack, ReplacesFilesAndNeverWritesIntoThem) {
    const Folder to;
    to.write("a", "before");
    ASSERT_EQ(::link((to / "a").c_str(), (to / "other").c_str()), 0);
    EXPECT_EQ(unpack_all(to, {file("a", 3)}), "");
    EXPECT_EQ(to.read("a"), "xxx");
    EXPECT_EQ(to.read("other"), "before");
}

TEST(Unpack, FolderAndFileDontReplaceEachOther) {
    const Folder to;
    to.write("f", "");
    ASSERT_EQ(::mkdir((to / "d").c_str(), 0755), 0);
    to.write("d/x", "");
    EXPECT_NE(unpack_all(to, {of_type(Type::kDirectory, "f")}).find("cannot overwrite non-dir"),
              std::string::npos);
    EXPECT_NE(unpack_all(to, {file("d")}).find("cannot overwrite directory"), std::string::npos);
    UnpackOptions options = mine();
    options.no_overwrite_dir_non_dir = false;
    EXPECT_EQ(unpack_all(to, {file("d"), of_type(Type::kDirectory, "f")}, options), "");
    EXPECT_TRUE(std::filesystem::is_regular_file(to / "d"));
    EXPECT_TRUE(std::filesystem::is_directory(to / "f"));
}

TEST(Unpack, TheTopGetsAnotherName) {
    const Folder to;
    UnpackOptions options = mine();
    options.rename_top = "new";
    EXPECT_EQ(unpack_all(to,
                         {of_type(Type::kDirectory, "old"), file("old/a"),
                          of_type(Type::kHardLink, "old/b", "old/a")},
                         options),
              "");
    EXPECT_EQ(to.read("new/b"), "x");
    options.rename_top = "contents";
    EXPECT_EQ(unpack_all(to, {of_type(Type::kDirectory, "."), file("./a")}, options), "");
    EXPECT_EQ(to.read("contents/a"), "x");
    options.rename_top = "file";
    EXPECT_EQ(unpack_all(to, {file("old")}, options), "");
    EXPECT_EQ(to.read("file"), "x");
}

TEST(Unpack, MissingFoldersAreMadeAndLinksToFoldersFollowedWhereThatIsTrusted) {
    const Folder to;
    EXPECT_EQ(unpack_all(to, {file("a/b/c")}), "");
    EXPECT_EQ(to.read("a/b/c"), "x");
    ASSERT_EQ(::symlink("a", (to / "l").c_str()), 0);
    EXPECT_NE(unpack_all(to, {file("l/n")}), "");
    UnpackOptions options = mine();
    options.trusted = true;
    EXPECT_EQ(unpack_all(to, {file("l/n")}, options), "");
    EXPECT_EQ(to.read("a/n"), "x");
}

TEST(Unpack, AFullOrBrokenInputIsOneError) {
    const Folder to;
    const Fd garbage = testing::memory_file(std::string(10'000, '?'));
    const auto done = unpack(garbage.get(), to.fd(), mine());
    ASSERT_FALSE(done.has_value());
    EXPECT_EQ(done.error().code, ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace drupe::archive
