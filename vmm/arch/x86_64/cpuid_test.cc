#include "vmm/arch/x86_64/cpuid.h"

#include <gtest/gtest.h>

#include <bit>
#include <optional>

namespace drupe::arch {
namespace {

kvm_cpuid_entry2 leaf(uint32_t function, uint32_t index = 0) {
    kvm_cpuid_entry2 entry{};
    entry.function = function;
    entry.index = index;
    entry.eax = entry.ebx = entry.ecx = entry.edx = UINT32_MAX;
    return entry;
}

/// A host that has every bit of every leaf.
std::vector<kvm_cpuid_entry2> everything() {
    std::vector<kvm_cpuid_entry2> all;
    for (uint32_t function = 0; function <= 0x24; ++function)
        for (uint32_t index = 0; index < 4; ++index) all.push_back(leaf(function, index));
    for (uint32_t function = 0x40000000; function <= 0x40000010; ++function)
        all.push_back(leaf(function));
    for (uint32_t function = 0x80000000; function <= 0x80000026; ++function)
        for (uint32_t index = 0; index < 4; ++index) all.push_back(leaf(function, index));
    return all;
}

std::optional<kvm_cpuid_entry2> find(std::span<const kvm_cpuid_entry2> entries, uint32_t function,
                                     uint32_t index = 0) {
    for (const kvm_cpuid_entry2& entry : entries)
        if (entry.function == function && entry.index == index) return entry;
    return std::nullopt;
}

TEST(CpuidTest, WhatTheBaselineLeavesOutIsHiddenOnAHostThatHasItAll) {
    const auto shown = baseline_cpuid(everything(), {0, 1, false});
    const kvm_cpuid_entry2 features = find(shown, 1).value();
    EXPECT_EQ(features.ecx & (1U << 3), 0U) << "MONITOR";
    EXPECT_EQ(features.ecx & (1U << 5), 0U) << "VMX";
    EXPECT_EQ(features.edx & (1U << 28), 0U) << "HTT with one CPU";
    const kvm_cpuid_entry2 extended = find(shown, 7).value();
    for (const unsigned bit : {4U, 11U, 2U, 16U, 14U, 25U})  // HLE RTM SGX AVX512F MPX PT
        EXPECT_EQ(extended.ebx & (1U << bit), 0U) << "7.ebx bit " << bit;
    EXPECT_EQ(extended.ecx & (1U << 3 | 1U << 16), 0U) << "PKU LA57";
    EXPECT_EQ(extended.edx & (1U << 24 | 1U << 22), 0U) << "AMX";
    EXPECT_EQ(find(shown, 0x80000001)->ecx & (1U << 2), 0U) << "SVM";
    EXPECT_EQ(find(shown, 0xd)->eax, 7U) << "x87, SSE and AVX state";
    EXPECT_EQ(find(shown, 0xd)->ecx, 832U);
    for (const uint32_t function : {0x5U, 0xaU, 0x12U, 0x14U, 0x15U, 0x16U, 0x1fU, 0x80000007U,
                                    0x8000000aU, 0x8000001fU, 0x80000022U}) {
        EXPECT_FALSE(find(shown, function)) << std::hex << function;
    }
    EXPECT_EQ(find(shown, 0)->eax, 0xdU);
    EXPECT_LE(find(shown, 0x80000000)->eax, 0x80000021U);
}

TEST(CpuidTest, WhatTheHostLacksIsNotInvented) {
    std::vector<kvm_cpuid_entry2> host = {leaf(0), leaf(1), leaf(7), leaf(0xd)};
    for (kvm_cpuid_entry2& entry : host) entry.eax = entry.ebx = entry.ecx = entry.edx = 0;
    host[3].eax = 3;  // no AVX state
    const auto shown = baseline_cpuid(host, {0, 1, false});
    EXPECT_EQ(find(shown, 1)->ecx, 1U << 31 | 1U << 21) << "hypervisor and x2APIC: KVM's own";
    EXPECT_EQ(find(shown, 7)->ebx, 0U);
    EXPECT_EQ(find(shown, 0xd)->ecx, 576U);
    EXPECT_FALSE(find(shown, 0x80000001));
    EXPECT_EQ(find(baseline_cpuid(host, {0, 1, true}), 1)->ecx & (1U << 24), 1U << 24);
}

TEST(CpuidTest, MitigationsAreShown) {
    const auto shown = baseline_cpuid(everything(), {0, 1, false});
    for (const unsigned bit : {10U, 26U, 27U, 28U, 29U, 31U})
        EXPECT_NE(find(shown, 7)->edx & (1U << bit), 0U) << "7.edx bit " << bit;
    for (const unsigned bit : {12U, 14U, 15U, 24U})
        EXPECT_NE(find(shown, 0x80000008)->ebx & (1U << bit), 0U) << "80000008.ebx bit " << bit;
}

TEST(CpuidTest, EachCpuHasItsOwnIdAndAllAreCoresOfOneSocket) {
    for (const uint32_t vcpus : {1U, 2U, 3U, 8U, 32U}) {
        for (uint32_t id = 0; id < vcpus; ++id) {
            const auto shown = baseline_cpuid(everything(), {id, vcpus, true});
            const kvm_cpuid_entry2 one = find(shown, 1).value();
            EXPECT_EQ(one.ebx >> 24, id);
            EXPECT_EQ((one.ebx >> 16) & 0xff, vcpus);
            EXPECT_EQ((one.edx >> 28) & 1, vcpus > 1 ? 1U : 0U);

            const kvm_cpuid_entry2 thread = find(shown, 0xb, 0).value();
            const kvm_cpuid_entry2 core = find(shown, 0xb, 1).value();
            EXPECT_EQ(thread.eax, 0U);
            EXPECT_EQ(thread.ebx, 1U);
            EXPECT_EQ(core.ebx, vcpus);
            EXPECT_GE(1U << core.eax, vcpus);
            EXPECT_EQ(core.edx, id);
            EXPECT_EQ(id >> core.eax, 0U) << "one socket";
            EXPECT_EQ(find(shown, 0xb, 2)->ebx, 0U);

            EXPECT_EQ(find(shown, 0x8000001e)->eax, id);
            EXPECT_EQ(find(shown, 0x80000008)->ecx & 0xff, vcpus - 1);
        }
    }
}

TEST(CpuidTest, OnlyTheThirdLevelCacheIsShared) {
    std::vector<kvm_cpuid_entry2> host;
    for (const uint32_t function : {0x4U, 0x8000001dU}) {
        for (uint32_t index = 0; index < 4; ++index) {
            host.push_back(leaf(function, index));
            const uint32_t level = index < 2 ? 1 : index;
            host.back().eax = 1 | level << 5 | 63U << 14;  // shared by 64 on the host
        }
    }
    const auto shown = baseline_cpuid(host, {1, 4, false});
    for (const uint32_t function : {0x4U, 0x8000001dU}) {
        EXPECT_EQ((find(shown, function, 0)->eax >> 14) & 0xfff, 0U);
        EXPECT_EQ((find(shown, function, 2)->eax >> 14) & 0xfff, 0U);
        EXPECT_EQ((find(shown, function, 3)->eax >> 14) & 0xfff, 3U);
    }
    EXPECT_EQ(find(shown, 4, 0)->eax >> 26, 3U);
}

}  // namespace
}  // namespace drupe::arch
