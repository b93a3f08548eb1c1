#include "vmm/bus.h"

#include <gtest/gtest.h>

#include <array>

namespace drupe {
namespace {

class FakeDevice final : public BusDevice {
  public:
    void read(uint64_t offset, std::span<std::byte> out) override {
        last_offset = offset;
        std::fill(out.begin(), out.end(), std::byte{0x5a});
    }
    void write(uint64_t offset, std::span<const std::byte> data) override {
        last_offset = offset;
        written += data.size();
    }
    uint64_t last_offset = UINT64_MAX;
    size_t written = 0;
};

TEST(BusTest, AnAccessGoesToTheDeviceAtItsAddress) {
    Bus bus;
    const auto low = std::make_shared<FakeDevice>();
    const auto high = std::make_shared<FakeDevice>();
    ASSERT_TRUE(bus.attach(0x3000, 0x1000, high));
    ASSERT_TRUE(bus.attach(0x1000, 0x1000, low));
    std::array<std::byte, 4> data{};
    EXPECT_TRUE(bus.read(0x1fff, data));
    EXPECT_EQ(low->last_offset, 0xfffU);
    EXPECT_TRUE(bus.write(0x3000, data));
    EXPECT_EQ(high->last_offset, 0U);
    EXPECT_EQ(high->written, 4U);
}

TEST(BusTest, WhereNothingIsReadsGiveOnes) {
    Bus bus;
    std::array<std::byte, 8> data{};
    EXPECT_FALSE(bus.read(0, data));
    ASSERT_TRUE(bus.attach(0x1000, 0x1000, std::make_shared<FakeDevice>()));
    for (const uint64_t address : {uint64_t{0xfff}, uint64_t{0x2000}, UINT64_MAX}) {
        data.fill(std::byte{0});
        EXPECT_FALSE(bus.read(address, data));
        for (const std::byte byte : data) EXPECT_EQ(byte, std::byte{0xff});
        EXPECT_FALSE(bus.write(address, data));
    }
}

TEST(BusTest, RangesThatAreEmptyOverlapOrOverflowAreRefused) {
    Bus bus;
    const auto device = std::make_shared<FakeDevice>();
    ASSERT_TRUE(bus.attach(0x1000, 0x1000, device));
    EXPECT_FALSE(bus.attach(0x5000, 0, device));
    EXPECT_FALSE(bus.attach(0x5000, 1, nullptr));
    EXPECT_FALSE(bus.attach(0x1fff, 1, device));
    EXPECT_FALSE(bus.attach(0x800, 0x801, device));
    EXPECT_FALSE(bus.attach(0x0, 0x8000, device));
    EXPECT_FALSE(bus.attach(UINT64_MAX, 2, device));
    EXPECT_TRUE(bus.attach(UINT64_MAX, 1, device));
    EXPECT_TRUE(bus.attach(0x2000, 1, device));
    EXPECT_TRUE(bus.attach(0x0, 0x1000, device));
}

}  // namespace
}  // namespace drupe
