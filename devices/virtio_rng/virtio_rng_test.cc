#include "devices/virtio_rng/virtio_rng.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "devices/virtio/testing/fake_driver.h"

namespace drupe::virtio {
namespace {

using testing::Buffer;
using testing::FakeDriver;
using testing::FakeHost;

GuestMemory make_memory() {
    const std::array<GuestMemory::Range, 1> ranges{{{0, 64 << 20}}};
    return std::move(GuestMemory::create(ranges)).value();
}

struct VirtioRngTest : public ::testing::Test {
    VirtioRngTest() { activate(driver.state()); }
    void activate(const QueueState& place) {
        Activation activation;
        activation.host = &host;
        activation.queues.emplace_back(VirtQueue::create(memory, place, {.max_size = 16}).value());
        device->activate(std::move(activation));
    }
    /// Writes 0x01, 0x02, ... so that a test sees what was filled, and counts.
    Status entropy(std::span<std::byte> out) {
        if (fail) return Error{ErrorCode::kIo, "no entropy today"};
        for (std::byte& byte : out) byte = static_cast<std::byte>(++filled % 255 + 1);
        return ok();
    }

    GuestMemory memory = make_memory();
    FakeDriver driver{memory, {}};
    FakeHost host;
    uint64_t filled = 0;
    bool fail = false;
    std::shared_ptr<VirtioDevice> device =
        make_virtio_rng("rng0", [this](std::span<std::byte> out) { return entropy(out); });
};

TEST_F(VirtioRngTest, FillsABufferAndInterruptsOnce) {
    const uint64_t place = driver.allocate(100);
    const std::array buffers{Buffer{place, 60, true}, Buffer{place + 60, 40, true}};
    driver.add(buffers);
    driver.add(buffers);
    device->on_notify(0);
    EXPECT_EQ(driver.take_used()->length, 100U);
    EXPECT_EQ(driver.take_used()->length, 100U);
    EXPECT_EQ(host.interrupts, 1);
    EXPECT_EQ(driver.get(place, 100).find('\0'), std::string::npos);
    EXPECT_EQ(driver.get(place + 100, 1), std::string(1, '\0'));
}

TEST_F(VirtioRngTest, Case15ARequestOfManyMiBCostsNoMoreThan64KiB) {
    const std::array buffers{Buffer{1 << 20, 32 << 20, true}};
    driver.add(buffers);
    device->on_notify(0);
    EXPECT_EQ(driver.take_used()->length, 64U << 10);
    EXPECT_EQ(filled, 64U << 10);
}

TEST_F(VirtioRngTest, RequestsWithoutRoomComeBackEmpty) {
    const std::array buffers{Buffer{driver.put("read me"), 7}};
    driver.add(buffers);
    device->on_notify(0);
    EXPECT_EQ(driver.take_used()->length, 0U);
    EXPECT_EQ(filled, 0U);
}

TEST_F(VirtioRngTest, AFailingSourceGivesNothingRatherThanOldBytes) {
    fail = true;
    const std::array buffers{Buffer{driver.allocate(16), 16, true}};
    driver.add(buffers);
    device->on_notify(0);
    EXPECT_EQ(driver.take_used()->length, 0U);
    EXPECT_EQ(driver.get(buffers[0].address, 16), std::string(16, '\0'));
}

TEST_F(VirtioRngTest, AQuietDeviceTouchesNothingAndGoesOnAfterResume) {
    bool quiet = false;
    device->quiesce([&] { quiet = true; });
    EXPECT_TRUE(quiet);
    const std::array buffers{Buffer{driver.allocate(16), 16, true}};
    driver.add(buffers);
    device->on_notify(0);
    EXPECT_FALSE(driver.take_used());
    device->resume();
    device->on_notify(0);
    EXPECT_TRUE(driver.take_used());
}

TEST_F(VirtioRngTest, ARestoredDeviceGoesOnInTheSameRing) {
    const std::array buffers{Buffer{driver.allocate(16), 16, true}};
    driver.add(buffers);
    device->on_notify(0);
    EXPECT_TRUE(driver.take_used());
    device->quiesce([] {});
    Encoder state;
    device->save(state);
    const QueueState place = device->queue(0)->state();

    device = make_virtio_rng("rng0", [this](std::span<std::byte> out) { return entropy(out); });
    Decoder in(state.bytes());
    ASSERT_TRUE(device->restore(in));
    activate(place);
    driver.add(buffers);
    device->on_notify(0);
    EXPECT_EQ(driver.take_used()->length, 16U);
    Decoder wrong("x");
    EXPECT_FALSE(device->restore(wrong));
}

TEST_F(VirtioRngTest, Case5ABrokenRingStopsTheDeviceAndAResetBringsItBack) {
    driver.set_avail_index(1000);
    device->on_notify(0);
    ASSERT_EQ(host.resets.size(), 1U);
    device->reset();
    device->on_notify(0);  // nothing to serve, nothing to crash on
    FakeDriver again(memory, {.base = 1 << 20});
    activate(again.state());
    const std::array buffers{Buffer{again.allocate(16), 16, true}};
    again.add(buffers);
    device->on_notify(0);
    EXPECT_EQ(again.take_used()->length, 16U);
}

TEST(SystemEntropyTest, FillsTheWholeSpan) {
    std::array<std::byte, 4096> a{};
    std::array<std::byte, 4096> b{};
    ASSERT_TRUE(system_entropy()(a));
    ASSERT_TRUE(system_entropy()(b));
    EXPECT_NE(a, b);
    EXPECT_NE(std::ranges::count(std::span(a).last(64), std::byte{0}), 64);
}

}  // namespace
}  // namespace drupe::virtio
