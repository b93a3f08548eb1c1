#include "api/engine/machine_size.h"

#include <gtest/gtest.h>

namespace drupe::engine {
namespace {

constexpr uint64_t kMiB = 1 << 20;

TEST(MachineSize, TheSmallestBucketThatHoldsLimitAndOverheadIsTaken) {
    EXPECT_EQ(machine_size(64 * kMiB, 0).value().ram_bytes, 128 * kMiB);
    EXPECT_EQ(machine_size(94 * kMiB, 0).value().ram_bytes, 128 * kMiB);
    EXPECT_EQ(machine_size(95 * kMiB, 0).value().ram_bytes, 256 * kMiB);
    EXPECT_EQ(machine_size(128 * kMiB, 0).value().ram_bytes, 256 * kMiB);
    EXPECT_EQ(machine_size(2048 * kMiB, 0).value().ram_bytes, 4096 * kMiB);
}

TEST(MachineSize, ALimitIsEnforcedInTheGuestAndTheMachineOnTheHost) {
    const MachineSize size = machine_size(64 * kMiB, 0).value();
    EXPECT_EQ(size.workload_memory_max, 64 * kMiB);
    EXPECT_EQ(size.monitor_memory_max, 128 * kMiB + kMonitorOverheadBytes);
}

TEST(MachineSize, NoLimitMeansTheDefaultRamAndNoLimitInTheGuest) {
    const MachineSize size = machine_size(0, 0).value();
    EXPECT_EQ(size.ram_bytes, kDefaultRamBytes);
    EXPECT_EQ(size.workload_memory_max, 0u);
    EXPECT_EQ(size.vcpus, 1u);
    EXPECT_EQ(size.cpu_percent, 0u);
}

TEST(MachineSize, FractionsOfCpusRoundVcpusUpAndLimitTheTime) {
    const MachineSize size = machine_size(0, 1'500'000'000).value();
    EXPECT_EQ(size.vcpus, 2u);
    EXPECT_EQ(size.cpu_percent, 150u);
    EXPECT_EQ(machine_size(0, 1).value().cpu_percent, 1u);
}

TEST(MachineSize, AbsurdSizesAreRefusedAndDoNotOverflow) {
    EXPECT_FALSE(machine_size(UINT64_MAX, 0));
    EXPECT_FALSE(machine_size(0, UINT64_MAX));
}

}  // namespace
}  // namespace drupe::engine
