#include "cli/host_paths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace drupe::cli {
namespace {

using ::testing::HasSubstr;

class HostPathsTest : public ::testing::Test {
  protected:
    void SetUp() override {
        char name[] = "/tmp/drupe-host-paths.XXXXXX";
        root_ = std::filesystem::canonical(::mkdtemp(name));
        std::filesystem::create_directories(root_ + "/folder");
        std::ofstream(root_ + "/file") << "x";
        std::filesystem::create_symlink("file", root_ + "/to-file");
        std::filesystem::create_symlink("folder", root_ + "/to-folder");
        std::filesystem::create_symlink("nothing", root_ + "/to-nothing");
        std::filesystem::create_symlink("loop", root_ + "/loop");
    }
    void TearDown() override { std::filesystem::remove_all(root_); }

    std::string root_;
};

TEST_F(HostPathsTest, ASourceIsALinkOrWhatItLeadsTo) {
    const auto link = find_source(root_ + "/to-folder", false).value();
    EXPECT_EQ(link.path, root_ + "/to-folder");
    EXPECT_FALSE(link.is_folder);
    const auto followed = find_source(root_ + "/to-folder", true).value();
    EXPECT_EQ(followed.path, root_ + "/folder");
    EXPECT_EQ(followed.name, "to-folder");
    EXPECT_TRUE(followed.is_folder);
}

TEST_F(HostPathsTest, ASourceHasToExist) {
    for (const bool follow : {false, true}) {
        const auto none = find_source(root_ + "/none", follow);
        ASSERT_FALSE(none);
        EXPECT_EQ(none.error().os_errno, ENOENT);
        EXPECT_THAT(none.error().message, HasSubstr(root_ + "/none"));
    }
    EXPECT_TRUE(find_source(root_ + "/to-nothing", false));
    EXPECT_FALSE(find_source(root_ + "/to-nothing", true));
}

TEST_F(HostPathsTest, ADestinationIsWhereItsLinksLead) {
    EXPECT_EQ(find_destination(root_ + "/to-file").value().path, root_ + "/file");
    EXPECT_TRUE(find_destination(root_ + "/to-folder").value().is_folder);
    const auto made = find_destination(root_ + "/to-nothing").value();
    EXPECT_EQ(made.path, root_ + "/nothing");
    EXPECT_FALSE(made.exists);
}

TEST_F(HostPathsTest, ADestinationCanBeMadeInAFolderOnly) {
    EXPECT_FALSE(find_destination(root_ + "/new").value().exists);
    const auto nowhere = find_destination(root_ + "/none/new");
    ASSERT_FALSE(nowhere);
    EXPECT_EQ(nowhere.error().message,
              "invalid output path: directory \"" + root_ + "/none\" does not exist");
    EXPECT_EQ(find_destination(root_ + "/file/new").error().os_errno, ENOTDIR);
    EXPECT_EQ(find_destination(root_ + "/loop").error().os_errno, ELOOP);
}

TEST_F(HostPathsTest, AnAbsolutePathKeepsItsEnd) {
    EXPECT_EQ(absolute_path("/a/../b/").value(), "/b/");
    EXPECT_EQ(absolute_path("/a/b/.").value(), "/a/b/.");
    const std::string here = std::filesystem::current_path();
    EXPECT_EQ(absolute_path("x/").value(), here + "/x/");
}

}  // namespace
}  // namespace drupe::cli
