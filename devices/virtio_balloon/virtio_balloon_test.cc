#include "devices/virtio_balloon/virtio_balloon.h"

#include <gtest/gtest.h>
#include <linux/virtio_balloon.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "devices/virtio/testing/fake_driver.h"

namespace drupe::virtio {
namespace {

using testing::Buffer;
using testing::FakeDriver;
using testing::FakeHost;

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kRam = 256 * kMiB;
constexpr size_t kReports = VirtioBalloon::kReportingQueue;

GuestMemory make_memory() {
    const std::array<GuestMemory::Range, 1> ranges{{{0, kRam}}};
    return std::move(GuestMemory::create(ranges)).value();
}

struct VirtioBalloonTest : public ::testing::Test {
    VirtioBalloonTest() { activate(driver.state()); }
    /// The queues are one driver's each: inflate, deflate and reports.
    void activate(const QueueState& reporting) {
        Activation activation;
        activation.features = device->info().features;
        activation.host = &host;
        for (const QueueState& place : {inflate.state(), deflate.state(), reporting})
            activation.queues.emplace_back(
                VirtQueue::create(memory, place, {.max_size = 32, .indirect = true}).value());
        device->activate(std::move(activation));
    }
    /// Writes into each page of a range.
    void use(uint64_t first, uint64_t size) {
        for (uint64_t page = first; page < first + size; page += 4096)
            ASSERT_TRUE(memory.write(page, uint64_t{1}));
    }
    /// How many pages of a range have what use() wrote.
    [[nodiscard]] uint64_t used(uint64_t first, uint64_t size) const {
        uint64_t pages = 0;
        for (uint64_t page = first; page < first + size; page += 4096)
            if (!memory.slice(page, 4096)->is_zero()) ++pages;
        return pages;
    }

    GuestMemory memory = make_memory();
    FakeDriver inflate{memory, {.base = 0x4000}};
    FakeDriver deflate{memory, {.base = 0x8000}};
    FakeDriver driver{memory, {.base = 0x10000, .size = 32}};
    FakeHost host;
    std::shared_ptr<VirtioBalloon> device = make_virtio_balloon("balloon");
};

TEST_F(VirtioBalloonTest, WhatIsReportedIsTheHostsAndTheRestStays) {
    use(kMiB, 8 * kMiB);
    const std::array buffers{Buffer{2 * kMiB, 2 * kMiB, true}, Buffer{6 * kMiB, kMiB, true}};
    driver.add(buffers);
    driver.add_indirect(std::array{Buffer{8 * kMiB, kMiB, true}});
    device->on_notify(kReports);
    EXPECT_EQ(driver.take_used()->length, 0U);
    EXPECT_EQ(driver.take_used()->length, 0U);
    EXPECT_EQ(host.interrupts, 1);
    EXPECT_EQ(device->reports(), 2U);
    EXPECT_EQ(used(kMiB, kMiB), 256U);
    EXPECT_EQ(used(2 * kMiB, 2 * kMiB), 0U);
    EXPECT_EQ(used(4 * kMiB, 2 * kMiB), 512U);
    EXPECT_EQ(used(6 * kMiB, kMiB), 0U);
    EXPECT_EQ(used(7 * kMiB, kMiB), 256U);
    EXPECT_EQ(used(8 * kMiB, kMiB), 0U);
}

TEST_F(VirtioBalloonTest, ItOffersReportsAloneAndNeverAsksForMemory) {
    EXPECT_EQ(device->info().features, uint64_t{1} << VIRTIO_BALLOON_F_REPORTING);
    std::array<std::byte, 16> config;
    config.fill(std::byte{0xff});
    device->write_config(offsetof(virtio_balloon_config, actual), std::array{std::byte{7}});
    device->read_config(0, config);
    EXPECT_EQ(config, (std::array<std::byte, 16>{}));
}

TEST_F(VirtioBalloonTest, InflatingAndDeflatingIsOverAtOnceAndTakesNothing) {
    const uint32_t pfn = 4 * kMiB / 4096;
    use(4 * kMiB, kMiB);
    size_t index = 0;
    for (FakeDriver* queue : {&inflate, &deflate}) {
        const uint64_t pfns = queue->put({reinterpret_cast<const char*>(&pfn), sizeof pfn});
        queue->add(std::array{Buffer{pfns, sizeof pfn}, Buffer{4 * kMiB, 1 << 20, true}});
        device->on_notify(index++);
        EXPECT_EQ(queue->take_used()->length, 0U);
    }
    EXPECT_EQ(used(4 * kMiB, kMiB), 256U);
    EXPECT_EQ(device->reports(), 0U);
}

TEST_F(VirtioBalloonTest, Case16RangesOutsideRamAreFaultsAndTakeNothing) {
    use(kMiB, kMiB);
    use(kRam - kMiB, kMiB);
    const std::array<Buffer, 4> wrong{{{kRam, 4096, true},
                                       {kRam - 4096, 8192, true},
                                       {UINT64_MAX - 4095, 4096, true},
                                       {1ULL << 40, kMiB, true}}};
    for (const Buffer& range : wrong) {
        driver.add(std::array{Buffer{kMiB, kMiB, true}, range});
        device->on_notify(kReports);
        EXPECT_EQ(driver.take_used()->length, 0U);
    }
    EXPECT_EQ(host.faults, std::vector<std::string>(wrong.size(), "buffer outside of RAM"));
    EXPECT_EQ(used(kMiB, kMiB), 256U);
    EXPECT_EQ(used(kRam - kMiB, kMiB), 256U);
    EXPECT_EQ(device->reports(), 0U);
}

TEST_F(VirtioBalloonTest, Case16OnlyWholePagesThatTheDeviceMayWriteAreTaken) {
    use(kMiB, 64 << 10);
    // Read-only, of no length, unaligned at both ends, within a page, overlapping.
    const uint64_t free = kMiB + 0x4000;
    driver.add(std::array{Buffer{kMiB, 0x2000}, Buffer{kMiB + 0x2000, 0, true},
                          Buffer{kMiB + 0x2001, 0x1000, true}, Buffer{free + 1, 0x2fff, true},
                          Buffer{free + 0x800, 0x2900, true}, Buffer{free + 0x4000, 0xfff, true}});
    device->on_notify(kReports);
    EXPECT_TRUE(driver.take_used());
    EXPECT_TRUE(host.faults.empty());
    EXPECT_EQ(used(free + 0x1000, 0x2000), 0U);
    EXPECT_EQ(used(kMiB, 64 << 10), 16U - 2);
}

TEST_F(VirtioBalloonTest, Case16AReportOfAllRamManyTimesTakes128MiBOfIt) {
    use(128 * kMiB, 2 * kMiB);
    const auto whole = static_cast<uint32_t>(kRam - kMiB);
    std::vector<Buffer> ranges(15, {kMiB, whole, true});
    ranges.insert(ranges.begin(), {kMiB, 100 << 20, true});
    ranges.insert(ranges.begin() + 1, {101 * kMiB, 100 << 20, true});
    driver.add(ranges);
    device->on_notify(kReports);
    EXPECT_TRUE(driver.take_used());
    EXPECT_EQ(used(128 * kMiB, kMiB), 0U);
    EXPECT_EQ(used(129 * kMiB, kMiB), 256U);
    // 4 GiB a chain is more than a queue takes at all.
    driver.add(std::vector<Buffer>(17, {kMiB, whole, true}));
    device->on_notify(kReports);
    EXPECT_TRUE(driver.take_used());
    EXPECT_EQ(host.faults.size(), 1U);
}

TEST_F(VirtioBalloonTest, RingsInWhatIsFreeHarmNobodyButTheGuest) {
    driver.add(std::array{Buffer{0, kMiB, true}});
    device->on_notify(kReports);
    device->reset();
    FakeDriver again(memory, {.base = 4 * kMiB, .size = 32});
    activate(again.state());
    use(2 * kMiB, kMiB);
    again.add(std::array{Buffer{2 * kMiB, kMiB, true}});
    device->on_notify(kReports);
    EXPECT_TRUE(again.take_used());
    EXPECT_EQ(used(2 * kMiB, kMiB), 0U);
}

TEST_F(VirtioBalloonTest, MemoryThatCantBeTakenStaysTheGuests) {
    use(kMiB, 8192);
    const iovec page = memory.slice(kMiB, 4096)->as_iovec();
    // Sanitizers make mlock(3) nothing.
    ASSERT_EQ(::syscall(__NR_mlock, page.iov_base, page.iov_len), 0);
    driver.add(std::array{Buffer{kMiB, 4096, true}, Buffer{kMiB + 4096, 4096, true}});
    device->on_notify(kReports);
    EXPECT_TRUE(driver.take_used());
    EXPECT_EQ(used(kMiB, 4096), 1U);
    EXPECT_EQ(used(kMiB + 4096, 4096), 0U);
}

TEST_F(VirtioBalloonTest, AQuietDeviceTouchesNothingAndGoesOnAfterResume) {
    bool quiet = false;
    device->quiesce([&] { quiet = true; });
    EXPECT_TRUE(quiet);
    use(kMiB, kMiB);
    driver.add(std::array{Buffer{kMiB, kMiB, true}});
    device->on_notify(kReports);
    EXPECT_FALSE(driver.take_used());
    EXPECT_EQ(used(kMiB, kMiB), 256U);
    device->resume();
    device->on_notify(kReports);
    EXPECT_TRUE(driver.take_used());
    EXPECT_EQ(used(kMiB, kMiB), 0U);
}

TEST_F(VirtioBalloonTest, ARestoredDeviceGoesOnInTheSameRing) {
    const std::array buffers{Buffer{kMiB, kMiB, true}};
    driver.add(buffers);
    device->on_notify(kReports);
    EXPECT_TRUE(driver.take_used());
    device->quiesce([] {});
    Encoder state;
    device->save(state);
    const QueueState place = device->queue(kReports)->state();

    device = make_virtio_balloon("balloon");
    EXPECT_EQ(device->queue(kReports), nullptr);
    Decoder in(state.bytes());
    ASSERT_TRUE(device->restore(in));
    activate(place);
    use(kMiB, kMiB);
    driver.add(buffers);
    device->on_notify(kReports);
    EXPECT_TRUE(driver.take_used());
    EXPECT_EQ(used(kMiB, kMiB), 0U);
    Decoder wrong("x");
    EXPECT_FALSE(device->restore(wrong));
}

TEST_F(VirtioBalloonTest, Case5ABrokenRingStopsTheDeviceAndQueuesThatArentThereAreNotServed) {
    driver.set_avail_index(1000);
    device->on_notify(kReports);
    ASSERT_EQ(host.resets.size(), 1U);
    device->reset();
    for (size_t index = 0; index < 5; ++index) device->on_notify(index);
    Activation activation;
    activation.host = &host;
    activation.queues.resize(3);
    device->activate(std::move(activation));
    for (size_t index = 0; index < 5; ++index) device->on_notify(index);
    EXPECT_EQ(device->queue(kReports), nullptr);
    EXPECT_EQ(host.resets.size(), 1U);
}

}  // namespace
}  // namespace drupe::virtio
