#include "api/engine/kvm_probe.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace drupe::engine {
namespace {

TEST(KvmProbeTest, WhatIsNotThereOrNoKvmIsAnErrorWithItsReason) {
    const auto missing = probe_kvm("/nowhere/kvm");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().os_errno, ENOENT);
    const auto other = probe_kvm("/dev/null");
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().code, ErrorCode::kUnsupported) << other.error().message;
}

TEST(KvmProbeTest, AllBatchesInTimeOfTheProcessorCarryKernels) {
    ring0::Run run;
    run.batches = ring0::kBatches;
    run.cpu_seconds = 1.2;
    EXPECT_TRUE(run.carries_kernels());
    run.cpu_seconds = 1.6;
    EXPECT_FALSE(run.carries_kernels());
    run.batches = ring0::kBatches - 1;
    run.cpu_seconds = 0.1;
    EXPECT_FALSE(run.carries_kernels());
}

}  // namespace
}  // namespace drupe::engine
