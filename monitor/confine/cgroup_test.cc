#include "monitor/confine/cgroup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace drupe::confine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

/// A directory that looks like a cgroup v2 tree. The kernel would make the control files; here they
/// are made first, which create() takes for a directory that was left over.
class CgroupTest : public ::testing::Test {
  protected:
    CgroupTest() {
        char name[] = "/tmp/drupe-cgroup-XXXXXX";
        options.root = ::mkdtemp(name);
        options.check_filesystem = false;
        put("cgroup.controllers", "cpuset cpu io memory pids\n");
        put("cgroup.subtree_control", "");
        put("drupe/cgroup.subtree_control", "cpu\n");
    }
    ~CgroupTest() override { fs::remove_all(options.root); }

    void put(const std::string& file, const std::string& text) {
        fs::create_directories(fs::path(options.root + "/" + file).parent_path());
        std::ofstream(options.root + "/" + file) << text;
    }
    std::string get(const std::string& file) {
        return read_file(options.root + "/" + file, 1 << 16).value();
    }
    void put_vm(const std::string& id) {
        put("drupe/" + id + "/cgroup.events", "populated 0\nfrozen 0\n");
        for (const char* file :
             {"memory.max", "memory.swap.max", "cpu.max", "pids.max", "cgroup.kill"})
            put("drupe/" + id + "/" + file, "");
    }
    CgroupTree::Options options;
};

TEST_F(CgroupTest, ControllersAreSwitchedOnWhereTheyAreMissing) {
    ASSERT_TRUE(CgroupTree::open(options));
    EXPECT_EQ(get("cgroup.subtree_control"), "+cpu +memory +pids");
    EXPECT_THAT(get("drupe/cgroup.subtree_control"), HasSubstr("+memory +pids"));
    EXPECT_THAT(get("drupe/cgroup.subtree_control"), ::testing::Not(HasSubstr("+cpu ")));
}

TEST_F(CgroupTest, AMissingControllerIsNamedWithWhatToDo) {
    put("cgroup.controllers", "cpu pids\n");
    const auto tree = CgroupTree::open(options);
    ASSERT_FALSE(tree);
    EXPECT_EQ(tree.error().code, ErrorCode::kUnsupported);
    EXPECT_THAT(tree.error().message, HasSubstr("memory controller"));
    EXPECT_THAT(tree.error().message, HasSubstr("cgroup_no_v1=all"));
}

TEST_F(CgroupTest, ADirectoryThatIsNoCgroupFileSystemIsRefused) {
    options.check_filesystem = true;
    const auto tree = CgroupTree::open(options);
    ASSERT_FALSE(tree);
    EXPECT_EQ(tree.error().code, ErrorCode::kUnsupported);
    EXPECT_THAT(tree.error().message, HasSubstr("mount -t cgroup2"));
}

TEST_F(CgroupTest, LimitsAreWritten) {
    put_vm("a1");
    const CgroupTree tree = CgroupTree::open(options).value();
    ASSERT_TRUE(tree.create(
        "a1",
        {.memory_max_bytes = 1 << 28, .swap_max_bytes = 0, .cpu_percent = 150, .pids_max = 64}));
    EXPECT_EQ(get("drupe/a1/memory.max"), "268435456");
    EXPECT_EQ(get("drupe/a1/memory.swap.max"), "0");
    EXPECT_EQ(get("drupe/a1/cpu.max"), "150000 100000");
    EXPECT_EQ(get("drupe/a1/pids.max"), "64");
}

TEST_F(CgroupTest, NoLimitIsMax) {
    put_vm("a1");
    const CgroupTree tree = CgroupTree::open(options).value();
    ASSERT_TRUE(tree.create("a1", {}));
    EXPECT_EQ(get("drupe/a1/memory.max"), "max");
    EXPECT_EQ(get("drupe/a1/memory.swap.max"), "");
    EXPECT_EQ(get("drupe/a1/cpu.max"), "max 100000");
    EXPECT_EQ(get("drupe/a1/pids.max"), "max");
}

TEST_F(CgroupTest, AHostWithoutSwapAccountingIsFine) {
    put_vm("a1");
    fs::remove(options.root + "/drupe/a1/memory.swap.max");
    const CgroupTree tree = CgroupTree::open(options).value();
    EXPECT_TRUE(tree.create("a1", {.memory_max_bytes = 1 << 28}));
}

TEST_F(CgroupTest, AFailedCreateLeavesNoDirectory) {
    const CgroupTree tree = CgroupTree::open(options).value();
    const auto made = tree.create("a1", {});  // a plain directory has no control files
    ASSERT_FALSE(made);
    EXPECT_THAT(made.error().message, HasSubstr("memory.max"));
    EXPECT_TRUE(tree.list().value().empty());
}

TEST_F(CgroupTest, ACgroupWithProcessesIsNotTakenOver) {
    put_vm("a1");
    put("drupe/a1/cgroup.events", "populated 1\nfrozen 0\n");
    options.patience_ms = 20;
    const auto made = CgroupTree::open(options).value().create("a1", {});
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, ErrorCode::kConflict);
}

TEST_F(CgroupTest, NamesThatLeaveTheTreeAreRefused) {
    const CgroupTree tree = CgroupTree::open(options).value();
    for (const char* id : {"", ".", "..", "a/b", "../x", "a b"}) {
        EXPECT_FALSE(tree.create(id, {})) << id;
        EXPECT_FALSE(tree.remove(id)) << id;
        EXPECT_FALSE(tree.kill(id)) << id;
    }
}

TEST_F(CgroupTest, WhatIsntThereIsKilledAndRemoved) {
    const CgroupTree tree = CgroupTree::open(options).value();
    EXPECT_TRUE(tree.kill("a1"));
    EXPECT_TRUE(tree.remove("a1"));
}

TEST_F(CgroupTest, KillingWritesTheKillFileAndListFindsIds) {
    put_vm("a1");
    const CgroupTree tree = CgroupTree::open(options).value();
    EXPECT_THAT(tree.list().value(), ElementsAre("a1"));
    ASSERT_TRUE(tree.kill("a1"));
    EXPECT_EQ(get("drupe/a1/cgroup.kill"), "1");
}

TEST_F(CgroupTest, UsageIsReadAndWhatTheHostDoesntCountIsZero) {
    put_vm("vm");
    put("drupe/vm/cpu.stat",
        "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\n"
        "nr_throttled 3\nthrottled_usec 2\nnew_field 9\n");
    put("drupe/vm/memory.current", "4096\n");
    put("drupe/vm/memory.max", "max\n");
    put("drupe/vm/memory.stat", "anon 1000\nfile 1096\nkernel 2000\nfile_mapped 96\n");
    put("drupe/vm/io.stat",
        "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"
        "8:16 rbytes=10 wbytes=20 rios=30 wios=40\n");
    const auto tree = CgroupTree::open(options);
    ASSERT_TRUE(tree);
    const auto usage = tree.value().usage("vm");
    ASSERT_TRUE(usage);
    EXPECT_EQ(usage.value().cpu_us, 30u);
    EXPECT_EQ(usage.value().cpu_user_us, 20u);
    EXPECT_EQ(usage.value().cpu_system_us, 10u);
    EXPECT_EQ(usage.value().cpu_periods, 4u);
    EXPECT_EQ(usage.value().cpu_throttled_periods, 3u);
    EXPECT_EQ(usage.value().cpu_throttled_us, 2u);
    EXPECT_EQ(usage.value().memory_bytes, 4096u);
    EXPECT_EQ(usage.value().private_bytes, 3000u);
    EXPECT_EQ(usage.value().memory_max_bytes, 0u);
    EXPECT_EQ(usage.value().processes, 0u);
    EXPECT_EQ(usage.value().read_bytes, 11u);
    EXPECT_EQ(usage.value().write_bytes, 22u);
    EXPECT_EQ(usage.value().read_operations, 33u);
    EXPECT_EQ(usage.value().write_operations, 44u);
    EXPECT_EQ(tree.value().usage("other").error().code, ErrorCode::kNotFound);
}

TEST_F(CgroupTest, ACpuLimitIsChanged) {
    put_vm("vm");
    const auto tree = CgroupTree::open(options);
    ASSERT_TRUE(tree);
    ASSERT_TRUE(tree.value().limit_cpu("vm", 150));
    EXPECT_EQ(get("drupe/vm/cpu.max"), "150000 100000");
    EXPECT_FALSE(tree.value().limit_cpu("other", 150));
}

TEST_F(CgroupTest, AMemoryLimitIsChanged) {
    put_vm("vm");
    const auto tree = CgroupTree::open(options);
    ASSERT_TRUE(tree);
    ASSERT_TRUE(tree.value().limit_memory("vm", 4096));
    EXPECT_EQ(get("drupe/vm/memory.max"), "4096");
    EXPECT_FALSE(tree.value().limit_memory("other", 4096));
}

}  // namespace
}  // namespace drupe::confine
