#include "vmm/arch/x86_64/layout.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace drupe::arch {
namespace {

using Ranges = std::vector<std::pair<uint64_t, uint64_t>>;

Ranges ram(uint64_t bytes) {
    Ranges out;
    for (const auto& range : ram_ranges(bytes)) out.emplace_back(range.guest_address, range.size);
    return out;
}

TEST(LayoutTest, RamUpToThreeGibibytesIsOneRange) {
    EXPECT_EQ(ram(128 * kMiB), (Ranges{{0, 128 * kMiB}}));
    EXPECT_EQ(ram(3 * kGiB), (Ranges{{0, 3 * kGiB}}));
}

TEST(LayoutTest, WhatIsOverThreeGibibytesGoesAboveFour) {
    EXPECT_EQ(ram(3 * kGiB + 4096), (Ranges{{0, 3 * kGiB}, {4 * kGiB, 4096}}));
    EXPECT_EQ(ram(3 * kGiB + 512 * kMiB), (Ranges{{0, 3 * kGiB}, {4 * kGiB, 512 * kMiB}}));
    EXPECT_EQ(ram(64 * kGiB), (Ranges{{0, 3 * kGiB}, {4 * kGiB, 61 * kGiB}}));
}

TEST(LayoutTest, TheMemoryMapIsSortedApartAndCoversAllRamButTheHole) {
    for (const uint64_t bytes : {2 * kMiB, 3 * kGiB, 3 * kGiB + 512 * kMiB}) {
        const auto ranges = ram_ranges(bytes);
        const GuestMemory memory = std::move(GuestMemory::create(ranges)).value();
        uint64_t end = 0;
        uint64_t usable = 0;
        for (const E820Entry& entry : e820_map(memory)) {
            EXPECT_GE(entry.address, end);
            EXPECT_GT(entry.size, 0U);
            end = entry.address + entry.size;
            if (entry.type != E820Type::kRam) continue;
            usable += entry.size;
            EXPECT_TRUE(memory.slice(entry.address, entry.size));
            const bool in_gap = entry.address < kGapEnd && end > kGapStart;
            EXPECT_FALSE(in_gap);
            const bool in_mp_table = entry.address < kMpTableEnd && end > kMpTable;
            EXPECT_FALSE(in_mp_table);
        }
        EXPECT_EQ(usable, bytes - (kHighMemory - kMpTable));
    }
}

TEST(LayoutTest, TheGenerationIdIsInRamThatNobodyElseIsTold) {
    const auto ranges = ram_ranges(2 * kMiB);
    const GuestMemory memory = std::move(GuestMemory::create(ranges)).value();
    EXPECT_TRUE(memory.slice(kVmGenId, 0x1000));
    for (const E820Entry& entry : e820_map(memory))
        EXPECT_TRUE(entry.address >= kVmGenId + 0x1000 || entry.address + entry.size <= kVmGenId);
    EXPECT_EQ(std::count(kSlotPins.begin(), kSlotPins.end(), kVmGenIdPin), 0);
}

TEST(LayoutTest, NothingInTheGapOverlaps) {
    EXPECT_GE(kMmioWindow, kGapStart);
    EXPECT_LE(kMmioWindow + kMmioSlots * kMmioSlotSize, kPowerRegister);
    EXPECT_LT(kPanicRegister, kIoapic);
    EXPECT_LE(kTss + 3 * 0x1000, kGapEnd);
}

}  // namespace
}  // namespace drupe::arch
