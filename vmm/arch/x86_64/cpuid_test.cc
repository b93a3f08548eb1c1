#include "vmm/arch/x86_64/cpuid.h"

#include <gtest/gtest.h>

#include <bit>
#include <optional>
#include <string>

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

std::string why_not(std::span<const kvm_cpuid_entry2> saved,
                    std::span<const kvm_cpuid_entry2> host) {
    const Status status = check_cpuid(saved, host);
    return status ? "" : status.error().message;
}

TEST(CpuidTest, AVcpuGoesOnWhereEverythingThatItWasShownIs) {
    const auto shown = baseline_cpuid(everything(), {1, 2, true});
    EXPECT_EQ(why_not(shown, shown), "");
    auto saved = shown;
    for (kvm_cpuid_entry2& entry : saved) {
        if (entry.function == 1) entry.ecx &= ~(1U << 28);  // no AVX
        if (entry.function == 4) entry.ebx = 5;             // other caches
    }
    EXPECT_EQ(why_not(saved, shown), "") << "a host may have more";
    EXPECT_EQ(why_not(shown, saved),
              "CPUID leaf 0x1, index 0, ecx: this host lacks the bits 0x10000000");
}

TEST(CpuidTest, WhatAHostLacksIsNamedByLeafAndRegister) {
    const auto host = baseline_cpuid(everything(), {0, 1, true});
    const auto with = [&](uint32_t function, uint32_t index, uint32_t kvm_cpuid_entry2::*reg,
                          uint32_t value) {
        auto saved = host;
        for (kvm_cpuid_entry2& entry : saved)
            if (entry.function == function && entry.index == index) entry.*reg = value;
        return why_not(saved, host);
    };
    EXPECT_EQ(with(7, 0, &kvm_cpuid_entry2::ebx, 1U << 16 | 1),
              "CPUID leaf 0x7, index 0, ebx: this host lacks the bits 0x10000");
    EXPECT_EQ(with(0xd, 0, &kvm_cpuid_entry2::eax, 0xe7),
              "CPUID leaf 0xd, index 0, eax: this host lacks the bits 0xe0");
    EXPECT_EQ(with(0, 0, &kvm_cpuid_entry2::ebx, 0x756e6547),
              "CPUID leaf 0x0, index 0, ebx: 0x756e6547, this host has 0xffffffff");
    EXPECT_EQ(with(7, 1, &kvm_cpuid_entry2::edx, 1),
              "CPUID leaf 0x7, index 1, edx: 0x1, which no baseline shows");
    auto narrow = host;
    for (kvm_cpuid_entry2& entry : narrow)
        if (entry.function == 0x80000008) entry.eax = 40;
    EXPECT_EQ(
        why_not(host, narrow),
        "CPUID leaf 0x80000008, index 0, eax: 255 bits of physical address, this host has 40");
    const std::vector<kvm_cpuid_entry2> pmu{leaf(0xa)};
    EXPECT_EQ(why_not(pmu, host), "CPUID leaf 0xa, index 0: not in the baseline drupe-v1");
    const std::vector<kvm_cpuid_entry2> amx{leaf(0xd, 18)};
    EXPECT_EQ(why_not(amx, host), "CPUID leaf 0xd, index 18: not in the baseline drupe-v1");
}

}  // namespace
}  // namespace drupe::arch
