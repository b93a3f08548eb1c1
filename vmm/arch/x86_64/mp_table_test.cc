#include "vmm/arch/x86_64/mp_table.h"

#include <gtest/gtest.h>

#include <cstring>
#include <span>
#include <string_view>

#include "vmm/arch/x86_64/layout.h"

namespace drupe::arch {
namespace {

uint8_t sum(std::span<const std::byte> bytes) {
    unsigned total = 0;
    for (const std::byte byte : bytes) total += std::to_integer<unsigned>(byte);
    return static_cast<uint8_t>(total);
}

template <class T>
T get(std::span<const std::byte> bytes, size_t at) {
    T value{};
    std::memcpy(&value, bytes.subspan(at).data(), sizeof value);
    return value;
}

/// Walks the table as Linux does (arch/x86/kernel/mpparse.c).
TEST(MpTableTest, ATableIsWhatAKernelExpectsForAnyNumberOfCpus) {
    for (const uint32_t vcpus : {1U, 2U, 32U}) {
        const std::vector<std::byte> bytes = make_mp_table(vcpus);
        ASSERT_LE(bytes.size(), kMpTableEnd - kMpTable);
        const std::span all(bytes);
        EXPECT_EQ(std::memcmp(all.data(), "_MP_", 4), 0);
        EXPECT_EQ(get<uint32_t>(all, 4), kMpTable + 16);
        EXPECT_EQ(sum(all.first(16)), 0);

        const auto table = all.subspan(16);
        EXPECT_EQ(std::memcmp(table.data(), "PCMP", 4), 0);
        EXPECT_EQ(get<uint16_t>(table, 4), table.size());
        EXPECT_EQ(sum(table), 0);
        EXPECT_EQ(get<uint32_t>(table, 36), kLapic);

        size_t at = 44;
        uint32_t cpus = 0;
        uint32_t interrupts = 0;
        size_t entries = 0;
        for (; at < table.size(); ++entries) {
            const auto type = get<uint8_t>(table, at);
            ASSERT_LE(type, 4);
            if (type == 0) {
                EXPECT_EQ(get<uint8_t>(table, at + 1), cpus++);
            }
            if (type == 3) {
                EXPECT_EQ(get<uint8_t>(table, at + 7), interrupts++);
            }
            if (type == 2) {
                EXPECT_EQ(get<uint32_t>(table, at + 4), kIoapic);
            }
            at += type == 0 ? 20 : 8;
        }
        EXPECT_EQ(at, table.size());
        EXPECT_EQ(cpus, vcpus);
        EXPECT_EQ(interrupts, kIoapicPins);
        EXPECT_EQ(get<uint16_t>(table, 34), entries);
    }
}

}  // namespace
}  // namespace drupe::arch
