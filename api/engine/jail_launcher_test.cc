#include "api/engine/jail_launcher.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

namespace drupe::engine {
namespace {

TEST(CgroupParent, IsARootsOwnByWhateverNameItIsReached) {
    char made[] = "/tmp/drupe-parent-XXXXXX";
    ASSERT_NE(::mkdtemp(made), nullptr);
    const std::string folder = made;
    std::filesystem::create_directory(folder + "/a");
    std::filesystem::create_directory_symlink(folder + "/a", folder + "/link");
    const std::string parent = cgroup_parent(folder + "/a");
    EXPECT_TRUE(parent.starts_with("drupe-"));
    EXPECT_EQ(parent.size(), 18u);
    EXPECT_EQ(cgroup_parent(folder + "/link"), parent);
    EXPECT_EQ(cgroup_parent(folder + "/a/"), parent);
    EXPECT_NE(cgroup_parent(folder), parent);
    std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace drupe::engine
