#include "devices/virtio/testing/mmio_fixture.h"

namespace drupe::virtio::testing {
namespace {

using ::testing::HasSubstr;

using MmioTransportTest = MmioFixture;

TEST_F(MmioTransportTest, ADriverFindsStartsAndUsesTheDevice) {
    EXPECT_EQ(get(VIRTIO_MMIO_MAGIC_VALUE), 0x74726976U);
    EXPECT_EQ(get(VIRTIO_MMIO_VERSION), 2U);
    EXPECT_EQ(get(VIRTIO_MMIO_DEVICE_ID), 42U);
    set(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    EXPECT_EQ(get(VIRTIO_MMIO_DEVICE_FEATURES), 1U << 29 | 1U << 28 | kDeviceFeature);
    set(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    EXPECT_EQ(get(VIRTIO_MMIO_DEVICE_FEATURES), 1U);
    set(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
    EXPECT_EQ(get(VIRTIO_MMIO_DEVICE_FEATURES), 0U);
    EXPECT_EQ(get(VIRTIO_MMIO_QUEUE_NUM_MAX), 16U);
    EXPECT_EQ(get(VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX);
    EXPECT_EQ(get(VIRTIO_MMIO_SHM_BASE_HIGH), UINT32_MAX);

    start(kVersion1 | kDeviceFeature);
    EXPECT_EQ(status(), kRunning);
    EXPECT_EQ(device->features, kVersion1 | kDeviceFeature);
    EXPECT_EQ(get(VIRTIO_MMIO_QUEUE_READY), 1U);
    expect_served();
    EXPECT_EQ(interrupts, 1);
    EXPECT_EQ(get(VIRTIO_MMIO_INTERRUPT_STATUS), 1U);
    set(VIRTIO_MMIO_INTERRUPT_ACK, 1);
    EXPECT_EQ(get(VIRTIO_MMIO_INTERRUPT_STATUS), 0U);
    expect_served(/*by_register=*/true);
    EXPECT_EQ(take_faults(), "");
}

TEST_F(MmioTransportTest, BuffersFromBeforeDriverOkAreServed) {
    negotiate(kVersion1);
    driver.emplace(memory, FakeDriver::Options{});
    set_queue(0, driver->state());
    const std::array buffers{Buffer{driver->allocate(8), 8, true}};
    driver->add(buffers);
    set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);  // too early: nobody is there yet
    settle();
    EXPECT_EQ(device->notifies, 0);
    add_status(VIRTIO_CONFIG_S_DRIVER_OK);
    settle();
    EXPECT_TRUE(driver->take_used());
}

TEST_F(MmioTransportTest, ConfigurationChangesAreCountedAndTold) {
    start();
    std::array<std::byte, 2> two{};
    transport->read(VIRTIO_MMIO_CONFIG + 5, two);
    EXPECT_EQ(two[1], std::byte{6});
    set(VIRTIO_MMIO_CONFIG + 8, 1);
    EXPECT_EQ(device->config_write, std::make_pair(8U, size_t{4}));
    const uint32_t generation = get(VIRTIO_MMIO_CONFIG_GENERATION);
    on_loop([&] { device->host->config_changed(); });
    EXPECT_EQ(get(VIRTIO_MMIO_CONFIG_GENERATION), generation + 1);
    EXPECT_EQ(get(VIRTIO_MMIO_INTERRUPT_STATUS), 2U);
    EXPECT_EQ(interrupts, 1);
}

TEST_F(MmioTransportTest, FeaturesMustBeOfferedAndVersion1) {
    for (const uint64_t features : {uint64_t{0}, kDeviceFeature, kVersion1 | 1, kVersion1 << 1}) {
        set(VIRTIO_MMIO_STATUS, 0);
        negotiate(features);
        EXPECT_EQ(status() & VIRTIO_CONFIG_S_FEATURES_OK, 0U) << features;
        EXPECT_THAT(take_faults(), HasSubstr("features"));
        add_status(VIRTIO_CONFIG_S_DRIVER_OK);
        EXPECT_EQ(status() & VIRTIO_CONFIG_S_DRIVER_OK, 0U);
    }
    EXPECT_EQ(device->activations, 0);
}

TEST_F(MmioTransportTest, StatusOnlyGoesForward) {
    set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER);  // before ACKNOWLEDGE
    EXPECT_EQ(status(), 0U);
    set(VIRTIO_MMIO_STATUS, kRunning);  // no features
    EXPECT_EQ(status(), 3U);
    set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    EXPECT_EQ(status(), 3U);
    set(VIRTIO_MMIO_STATUS, 3 | 0x100);
    EXPECT_EQ(status(), 3U);
    set(VIRTIO_MMIO_STATUS, 3 | VIRTIO_CONFIG_S_FAILED);
    EXPECT_EQ(status(), 3U | VIRTIO_CONFIG_S_FAILED);
    set(VIRTIO_MMIO_STATUS, 0);
    EXPECT_EQ(status(), 0U);
    EXPECT_EQ(transport->guest_faults(), 4U);
}

TEST_F(MmioTransportTest, ResumeGoesOnWithWhatCameMeanwhile) {
    start();
    on_loop([&] { transport->quiesce([] {}); });
    settle();
    const std::array buffers{Buffer{driver->allocate(8), 8, true}};
    driver->add(buffers);
    EXPECT_FALSE(transport->kicked());
    set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    EXPECT_TRUE(transport->kicked());
    settle();
    EXPECT_FALSE(driver->take_used());
    EXPECT_TRUE(transport->kicked()) << "its loop has taken the ring, and the device nothing";
    on_loop([&] { transport->resume(); });
    settle();
    EXPECT_TRUE(driver->take_used());
    EXPECT_FALSE(transport->kicked());
}

TEST_F(MmioTransportTest, AnActivationOnItsWayIsInTheSavedState) {
    negotiate(kVersion1);
    driver.emplace(memory, FakeDriver::Options{});
    set_queue(0, driver->state());
    Encoder state;
    // The driver's last write before the pause, and the loop is at the pause already.
    on_loop([&] {
        add_status(VIRTIO_CONFIG_S_DRIVER_OK);
        transport->quiesce([&] { transport->save(state); });
    });
    settle();
    on_loop([&] {
        const auto old = transport;
        connect();
        Decoder in(state.bytes());
        ASSERT_TRUE(transport->restore(in));
        transport->resume();
    });
    expect_served();
}

TEST_F(MmioTransportTest, RestoreRefusesTornAndForgedState) {
    start();
    Encoder state;
    on_loop([&] { transport->quiesce([&] { transport->save(state); }); });
    settle();
    const auto restores = [&](const std::string& bytes) {
        bool restored = false;
        on_loop([&] {
            const auto old = transport;
            connect();
            Decoder in(bytes);
            restored = transport->restore(in).has_value();
        });
        return restored;
    };
    for (size_t cut = 0; cut < state.bytes().size(); ++cut)
        EXPECT_FALSE(restores(state.bytes().substr(0, cut))) << cut;
    const auto forged = [&](size_t offset, uint8_t value) {
        std::string bytes = state.bytes();
        bytes[offset] = static_cast<char>(value);
        return bytes;
    };
    EXPECT_FALSE(restores(forged(0, 9)));      // version
    EXPECT_FALSE(restores(forged(4, 3)));      // status: active, but not running
    EXPECT_FALSE(restores(forged(20, 0xff)));  // features
    EXPECT_FALSE(restores(forged(36, 0)));     // running, but not active
    EXPECT_FALSE(restores(forged(37, 3)));     // number of queues
    EXPECT_FALSE(restores(forged(41, 7)));     // a queue's size
    EXPECT_FALSE(restores(forged(44, 1)));     // its alignment
    EXPECT_FALSE(restores(forged(51, 0xff)));  // its address
    std::string broken = forged(4, VIRTIO_CONFIG_S_NEEDS_RESET);
    broken[36] = 0;
    EXPECT_FALSE(restores(broken));  // broken, but never started
    EXPECT_TRUE(restores(state.bytes()));
}

}  // namespace
}  // namespace drupe::virtio::testing
