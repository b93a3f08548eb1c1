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

}  // namespace
}  // namespace drupe::confine
