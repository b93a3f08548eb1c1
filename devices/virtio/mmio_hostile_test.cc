// What a hostile driver can do to the registers, by the numbers of docs/security.md.
#include "devices/virtio/testing/mmio_fixture.h"

namespace drupe::virtio::testing {
namespace {

using ::testing::HasSubstr;

using MmioHostileTest = MmioFixture;

TEST_F(MmioHostileTest, Case1QueuesAreLockedWhileTheyRun) {
    start();
    const QueueState place = driver->state();
    set(VIRTIO_MMIO_QUEUE_SEL, 0);
    for (const uint32_t value : {0U, 1U, 0xffffffffU}) {
        set(VIRTIO_MMIO_QUEUE_NUM, value);
        set(VIRTIO_MMIO_QUEUE_DESC_LOW, value);
        set(VIRTIO_MMIO_QUEUE_DESC_HIGH, value);
        set(VIRTIO_MMIO_QUEUE_AVAIL_LOW, value);
        set(VIRTIO_MMIO_QUEUE_USED_HIGH, value);
        set(VIRTIO_MMIO_QUEUE_READY, value);
        EXPECT_EQ(get(VIRTIO_MMIO_QUEUE_READY), 1U);
    }
    set(VIRTIO_MMIO_DRIVER_FEATURES, 0);
    EXPECT_THAT(take_faults(), HasSubstr("fake0: queue changed after DRIVER_OK"));
    EXPECT_EQ(transport->guest_faults(), 19U);
    on_loop([&] {
        EXPECT_EQ(device->queue(0)->state().desc, place.desc);
        EXPECT_EQ(device->queue(0)->size(), place.size);
    });
    expect_served();
    // A queue that wasn't enabled before can't be now.
    set(VIRTIO_MMIO_QUEUE_SEL, 1);
    set(VIRTIO_MMIO_QUEUE_READY, 1);
    EXPECT_EQ(get(VIRTIO_MMIO_QUEUE_READY), 0U);
    set(VIRTIO_MMIO_QUEUE_NOTIFY, 1);
    settle();
    expect_served();
}

TEST_F(MmioHostileTest, Case1AReadyQueueIsLockedBeforeDriverOkToo) {
    negotiate(kVersion1);
    driver.emplace(memory, FakeDriver::Options{});
    set_queue(0, driver->state());
    set(VIRTIO_MMIO_QUEUE_NUM, 16);
    set(VIRTIO_MMIO_QUEUE_USED_LOW, 0);
    EXPECT_EQ(transport->guest_faults(), 2U);
    add_status(VIRTIO_CONFIG_S_DRIVER_OK);
    settle();
    expect_served();
}

TEST_F(MmioHostileTest, Case1ImpossibleQueuesNeedAResetAndAResetHelps) {
    start();
    const QueueState good = driver->state();
    struct Bad {
        QueueState place;
        uint32_t size;
    };
    std::vector<Bad> bad;
    for (const uint32_t size : {0U, 3U, 32U, 0x8000U, 0x10008U}) bad.push_back({good, size});
    for (uint64_t QueueState::*ring : {&QueueState::desc, &QueueState::avail, &QueueState::used}) {
        for (const uint64_t address : {good.desc + 1, uint64_t{4 << 20}, ~uint64_t{0} - 15}) {
            bad.push_back({good, good.size});
            bad.back().place.*ring = address;
        }
    }
    for (const Bad& queue : bad) {
        set(VIRTIO_MMIO_STATUS, 0);
        take_faults();
        interrupts = 0;
        negotiate(kVersion1);
        set_queue(0, queue.place);
        set(VIRTIO_MMIO_QUEUE_READY, 0);
        set(VIRTIO_MMIO_QUEUE_NUM, queue.size);
        set(VIRTIO_MMIO_QUEUE_READY, 1);
        const int activations = device->activations;
        add_status(VIRTIO_CONFIG_S_DRIVER_OK);
        set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
        settle();
        EXPECT_EQ(status(), kRunning | VIRTIO_CONFIG_S_NEEDS_RESET);
        EXPECT_EQ(interrupts, 1);
        EXPECT_EQ(device->activations, activations);
    }
    start();
    EXPECT_EQ(status(), kRunning);
    expect_served();
}

TEST_F(MmioHostileTest, Case2SelectorsOutOfRangeTouchNothing) {
    for (const uint32_t queue : {2U, 3U, 0x7fffffffU, 0x80000000U, UINT32_MAX}) {
        set(VIRTIO_MMIO_QUEUE_SEL, queue);
        EXPECT_EQ(get(VIRTIO_MMIO_QUEUE_NUM_MAX), 0U);
        EXPECT_EQ(get(VIRTIO_MMIO_QUEUE_READY), 0U);
        for (uint64_t offset = 0x34; offset < 0x100; offset += 4) {
            if (offset == VIRTIO_MMIO_STATUS) continue;
            set(offset, UINT32_MAX);
        }
        set(VIRTIO_MMIO_QUEUE_NOTIFY, queue);
        set(VIRTIO_MMIO_DEVICE_FEATURES_SEL, queue);
        EXPECT_EQ(get(VIRTIO_MMIO_DEVICE_FEATURES), 0U);
        set(VIRTIO_MMIO_DRIVER_FEATURES_SEL, queue);
        set(VIRTIO_MMIO_DRIVER_FEATURES, UINT32_MAX);
    }
    start();
    expect_served();
}

TEST_F(MmioHostileTest, Case5ABrokenRingStopsTheDeviceUntilItIsReset) {
    start();
    driver->set_avail_index(500);
    set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    settle();
    EXPECT_EQ(status(), kRunning | VIRTIO_CONFIG_S_NEEDS_RESET);
    EXPECT_EQ(get(VIRTIO_MMIO_INTERRUPT_STATUS), 2U);
    EXPECT_THAT(take_faults(), HasSubstr("avail index"));
    const int notifies = device->notifies;
    set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    settle();
    EXPECT_EQ(device->notifies, notifies);
    start();
    EXPECT_EQ(status(), kRunning);
    expect_served();
}

TEST_F(MmioHostileTest, Case10AResetEndsOnlyWhenNothingIsInFlight) {
    start();
    on_loop([&] { device->hold = true; });
    const std::array buffers{Buffer{driver->allocate(8), 8, true}};
    driver->add(buffers);
    set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    settle();
    on_loop([&] { EXPECT_EQ(device->queue(0)->in_flight(), 1); });
    set(VIRTIO_MMIO_STATUS, 0);
    // When the write returns the rings are the driver's again.
    EXPECT_EQ(status(), 0U);
    EXPECT_EQ(device->resets, 1);
    EXPECT_EQ(get(VIRTIO_MMIO_INTERRUPT_STATUS), 0U);
    EXPECT_EQ(get(VIRTIO_MMIO_QUEUE_READY), 0U);
    on_loop([&] { device->hold = false; });
    start();
    expect_served();
}

TEST_F(MmioHostileTest, Case10ResetsAndReplaysFromAllVcpusAtOnce) {
    start();
    std::vector<std::thread> vcpus;
    for (uint32_t cpu = 0; cpu < 4; ++cpu) {
        vcpus.emplace_back([this, cpu] {
            uint64_t seed = cpu;
            for (int i = 0; i < 500; ++i) {
                seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
                switch (seed >> 61) {
                    case 0:
                        set(VIRTIO_MMIO_STATUS, 0);
                        break;
                    case 1:
                        negotiate(kVersion1);
                        break;
                    case 2:
                        set_queue(static_cast<uint32_t>(seed >> 40 & 3), driver->state());
                        break;
                    case 3:
                        add_status(VIRTIO_CONFIG_S_DRIVER_OK);
                        break;
                    case 4:
                        set(VIRTIO_MMIO_QUEUE_NOTIFY, static_cast<uint32_t>(seed >> 40 & 3));
                        break;
                    case 5:
                        set(VIRTIO_MMIO_INTERRUPT_ACK, 3);
                        break;
                    default:
                        get(seed >> 40 & 0xfc);
                        break;
                }
            }
        });
    }
    for (std::thread& vcpu : vcpus) vcpu.join();
    settle();
    start();
    EXPECT_EQ(status(), kRunning);
    expect_served();
}

TEST_F(MmioHostileTest, Case10AMachineIsSavedInTheMiddleAndGoesOnElsewhere) {
    start();
    expect_served();
    bool quiet = false;
    on_loop([&] { transport->quiesce([&] { quiet = true; }); });
    settle();
    ASSERT_TRUE(quiet);
    const std::array buffers{Buffer{driver->allocate(8), 8, true}};
    driver->add(buffers);
    set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);  // a kick that was on its way
    settle();
    EXPECT_FALSE(driver->take_used());
    Encoder state;
    on_loop([&] { transport->save(state); });

    std::shared_ptr<MmioTransport> old;
    on_loop([&] {
        old = transport;
        connect();
        Decoder in(state.bytes());
        const Status restored = transport->restore(in);
        ASSERT_TRUE(restored) << restored.error().message;
        EXPECT_TRUE(in.at_end());
        EXPECT_EQ(device->queue(0)->state().next_avail, 1);  // not served a second time
        EXPECT_EQ(device->queue(0)->state().next_used, 1);
    });
    EXPECT_EQ(status(), kRunning);
    EXPECT_EQ(get(VIRTIO_MMIO_INTERRUPT_STATUS), 1U);
    interrupts = 0;
    on_loop([&] { transport->resume(); });
    settle();
    EXPECT_TRUE(driver->take_used());
    EXPECT_GE(interrupts, 1);
    expect_served();
    set(VIRTIO_MMIO_STATUS, 0);
    start();
    expect_served();
    on_loop([&] { old.reset(); });
}

TEST_F(MmioHostileTest, Case18AStormOfFaultsIsCountedAndNotLogged) {
    for (int i = 0; i < 100'000; ++i) set(VIRTIO_MMIO_QUEUE_NOTIFY, 77);
    EXPECT_EQ(transport->guest_faults(), 100'000U);
    EXPECT_LT(std::ranges::count(take_faults(), '\n'), 30);
}

TEST_F(MmioHostileTest, Case19OddWidthsAndUnalignedAccessesAreIgnored) {
    start();
    std::array<std::byte, 8> bytes;
    for (uint64_t offset = 0; offset < 0x100; ++offset) {
        for (const size_t size : {1, 2, 3, 4, 8}) {
            if (size == 4 && offset % 4 == 0) continue;
            bytes.fill(std::byte{0xff});
            transport->write(offset, std::span(bytes).first(size));
            transport->read(offset, std::span(bytes).first(size));
            EXPECT_EQ(bytes[0], std::byte{0});
        }
    }
    for (const uint64_t offset : {uint64_t{0xfff}, uint64_t{0x10000}, ~uint64_t{0}}) {
        transport->write(offset, bytes);
        transport->read(offset, bytes);
    }
    EXPECT_EQ(status(), kRunning);
    expect_served();
}

}  // namespace
}  // namespace drupe::virtio::testing
