// How much a container may write: --storage-opt size=SIZE.

#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/boot/running.h"

namespace drupe::testing {
namespace {

Outcome in(const Running& machine, const std::string& script) {
    return drupe({"exec", machine.id(), "sh", "-c", script});
}

/// What df calls Available, in KiB.
int available_kib(const Running& machine) {
    const Outcome df = in(machine, "df -Pk / | awk 'NR==2{print $4}'");
    EXPECT_EQ(df.exit_code, 0) << df.err;
    return std::atoi(df.out.c_str());
}

constexpr int kSizeKib = 64 << 10;
const std::vector<std::string> kSize{"--storage-opt", "size=64m"};

TEST(StorageTest, WritingMoreFailsAsOnAFullDiskAndDeletingGivesRoomBack) {
    const Running machine(kSize);
    EXPECT_LE(available_kib(machine), kSizeKib);
    EXPECT_GT(available_kib(machine), kSizeKib - 2048);

    const Outcome full = in(machine, "dd if=/dev/zero of=/big bs=1M count=100");
    EXPECT_EQ(full.exit_code, 1);
    EXPECT_NE(full.err.find("No space left on device"), std::string::npos) << full.err;
    EXPECT_LT(available_kib(machine), 2048);
    EXPECT_EQ(in(machine, "rm /big; sync").exit_code, 0);
    EXPECT_GT(available_kib(machine), kSizeKib - 2048);
    const Outcome again = in(machine, "dd if=/dev/zero of=/big bs=1M count=50 && sync && rm /big");
    EXPECT_EQ(again.exit_code, 0) << again.err;
}

TEST(StorageTest, WhatWasWrittenCountsAfterTheNextStartToo) {
    const Running machine(kSize);
    EXPECT_EQ(in(machine, "dd if=/dev/zero of=/kept bs=1M count=40").exit_code, 0);
    EXPECT_EQ(drupe({"stop", "-t", "0", machine.id()}).exit_code, 0);
    EXPECT_EQ(drupe({"start", machine.id()}).exit_code, 0);
    EXPECT_LE(available_kib(machine), kSizeKib - (40 << 10));
    EXPECT_GT(available_kib(machine), kSizeKib - (44 << 10));
    EXPECT_EQ(in(machine, "dd if=/dev/zero of=/big bs=1M count=40").exit_code, 1);
}

TEST(StorageTest, RootCantChangeTheLimitAndWhoTakesItOffReachesTheHosts) {
    const Running machine(kSize);
    EXPECT_NE(in(machine, "echo 0 > /sys/fs/ext4/vda/reserved_clusters").exit_code, 0);
    EXPECT_NE(in(machine, "umount /sys/fs/ext4").exit_code, 0);
    const std::string script =
        "umount /sys/fs/ext4 && echo 0 > /sys/fs/ext4/vda/reserved_clusters && "
        "dd if=/dev/zero of=/big bs=1M count=400 conv=fsync";
    const Outcome off = drupe({"exec", "--privileged", machine.id(), "sh", "-c", script});
    EXPECT_NE(off.exit_code, 0);
    // Its kernel may not survive that its disk fails, which is its own doing; nobody else is the
    // worse.
    constexpr int kKilled = 137;
    EXPECT_TRUE(off.err.find("Input/output error") != std::string::npos || off.exit_code == kKilled)
        << off.exit_code << ": " << off.err;
    EXPECT_EQ(drupe({"inspect", machine.id()}).exit_code, 0);
}

TEST(StorageTest, AContainerThatWasCommittedUnderwayStartsAgainWithinItsLimit) {
    const Running machine(kSize);
    EXPECT_EQ(in(machine, "dd if=/dev/zero of=/kept bs=1M count=10 && sync").exit_code, 0);
    EXPECT_EQ(drupe({"commit", "--pause=false", machine.id(), "storage-underway"}).exit_code, 0);
    EXPECT_EQ(drupe({"stop", "-t", "0", machine.id()}).exit_code, 0);
    const Outcome started = drupe({"start", machine.id()});
    EXPECT_EQ(started.exit_code, 0) << started.err;
    EXPECT_LE(available_kib(machine), kSizeKib);
    EXPECT_GT(available_kib(machine), kSizeKib - (12 << 10));
    EXPECT_EQ(drupe({"rmi", "-f", "storage-underway"}).exit_code, 0);
}

TEST(StorageTest, ASizeThatIsNoneIsRefusedByName) {
    const Outcome small = drupe({"create", "--storage-opt", "size=10k", "busybox"});
    EXPECT_NE(small.exit_code, 0);
    EXPECT_NE(small.err.find("the smallest is size=1m"), std::string::npos) << small.err;
    EXPECT_NE(drupe({"create", "--storage-opt", "colour=red", "busybox"}).exit_code, 0);
}

}  // namespace
}  // namespace drupe::testing
