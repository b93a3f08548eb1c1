// Cgroups on a host that has them: the tests labelled kvm run there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "monitor/confine/cgroup.h"

namespace drupe::confine {
namespace {

TEST(CgroupHostTest, LimitsReachTheKernel) {
    CgroupTree::Options options;
    options.parent = "drupe-test-" + std::to_string(::getpid());
    auto opened = CgroupTree::open(options);
    ASSERT_TRUE(opened) << opened.error().message;
    const CgroupTree tree = std::move(opened).value();
    const auto directory =
        tree.create("vm1", {.memory_max_bytes = 256 << 20, .cpu_percent = 150, .pids_max = 64});
    ASSERT_TRUE(directory) << directory.error().message;
    const std::string path = options.root + "/" + options.parent + "/vm1/";
    EXPECT_EQ(read_file(path + "memory.max", 100).value(), "268435456\n");
    EXPECT_EQ(read_file(path + "cpu.max", 100).value(), "150000 100000\n");
    EXPECT_EQ(read_file(path + "pids.max", 100).value(), "64\n");
    EXPECT_TRUE(tree.remove("vm1"));
    EXPECT_EQ(::rmdir((options.root + "/" + options.parent).c_str()), 0);
}

}  // namespace
}  // namespace drupe::confine
