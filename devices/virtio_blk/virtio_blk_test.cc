#include "devices/virtio_blk/virtio_blk.h"

#include <gtest/gtest.h>
#include <linux/virtio_blk.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "devices/virtio/testing/fake_driver.h"
#include "devices/virtio_blk/request.h"
#include "devices/virtio_blk/testing/memory_backend.h"
#include "imagefs/store/layered_disk.h"
#include "imagefs/store/scripted_io.h"

namespace drupe::virtio {
namespace {

using testing::Buffer;
using testing::FakeDriver;
using testing::FakeHost;
using testing::MemoryBackend;

constexpr uint64_t kDisk = 1 << 20;
constexpr uint64_t kSectors = kDisk / 512;
constexpr uint64_t kFeatures =
    1U << VIRTIO_BLK_F_FLUSH | 1U << VIRTIO_BLK_F_DISCARD | 1U << VIRTIO_BLK_F_WRITE_ZEROES;
constexpr int kNoStatus = 0xee;  // what the driver puts there before

GuestMemory make_memory() {
    const std::array<GuestMemory::Range, 1> ranges{{{0, 32 << 20}}};
    return std::move(GuestMemory::create(ranges)).value();
}

struct VirtioBlkTest : public ::testing::Test {
    VirtioBlkTest() { use(std::make_unique<MemoryBackend>(kDisk)); }

    void use(std::unique_ptr<MemoryBackend> backend, uint64_t features = kFeatures) {
        disk = backend.get();
        device = make_virtio_blk({.name = "blk0", .serial = "root", .backend = std::move(backend)});
        activate(features);
    }
    void activate(uint64_t features = kFeatures) {
        driver.emplace(memory, FakeDriver::Options{.size = 256});
        activate_at(driver->state(), features);
    }
    void activate_at(const QueueState& place, uint64_t features) {
        Activation activation;
        activation.features = features;
        activation.host = &host;
        activation.queues.emplace_back(
            VirtQueue::create(memory, place, {.max_size = 256, .indirect = true}).value());
        device->activate(std::move(activation));
    }

    uint64_t header(uint32_t type, uint64_t sector) {
        const virtio_blk_outhdr header{.type = type, .ioprio = 0, .sector = sector};
        return driver->put({reinterpret_cast<const char*>(&header), sizeof header});
    }
    /// Sends header, data parts, status; returns the status byte.
    int request(uint32_t type, uint64_t sector, std::vector<Buffer> data = {}) {
        data.insert(data.begin(), Buffer{header(type, sector), sizeof(virtio_blk_outhdr)});
        return send(std::move(data));
    }
    int send(std::vector<Buffer> parts) {
        const uint64_t status = driver->put(std::string(1, static_cast<char>(kNoStatus)));
        parts.push_back({status, 1, true});
        driver->add_indirect(parts);
        device->on_notify(0);
        const auto used = driver->take_used();
        EXPECT_TRUE(used);
        used_length = used->length;
        return static_cast<uint8_t>(driver->get(status, 1)[0]);
    }
    int write(uint64_t sector, const std::string& bytes) {
        return request(VIRTIO_BLK_T_OUT, sector,
                       {{driver->put(bytes), static_cast<uint32_t>(bytes.size())}});
    }
    std::string read(uint64_t sector, uint32_t size) {
        const uint64_t place = driver->allocate(size);
        EXPECT_EQ(request(VIRTIO_BLK_T_IN, sector, {{place, size, true}}), VIRTIO_BLK_S_OK);
        EXPECT_EQ(used_length, size + 1);
        return driver->get(place, size);
    }
    int ranges(uint32_t type, const std::vector<virtio_blk_discard_write_zeroes>& segments) {
        const auto size =
            static_cast<uint32_t>(segments.size() * sizeof(virtio_blk_discard_write_zeroes));
        const uint64_t place = driver->put({reinterpret_cast<const char*>(segments.data()), size});
        return request(type, 0, {{place, size}});
    }
    template <class T>
    T config(uint32_t offset) {
        T value{};
        device->read_config(offset, std::as_writable_bytes(std::span(&value, 1)));
        return value;
    }

    GuestMemory memory = make_memory();
    FakeHost host;
    std::optional<FakeDriver> driver;
    std::shared_ptr<VirtioBlk> device;
    MemoryBackend* disk = nullptr;
    uint32_t used_length = 0;
};

std::string pattern(size_t size, char first) {
    std::string bytes(size, ' ');
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(first + i % 23 + i / 4096);
    return bytes;
}

TEST_F(VirtioBlkTest, WhatIsWrittenIsReadBack) {
    EXPECT_EQ(write(8, pattern(8192, 'a')), VIRTIO_BLK_S_OK);
    EXPECT_EQ(used_length, 1U);
    EXPECT_EQ(read(8, 8192), pattern(8192, 'a'));
    EXPECT_EQ(read(0, 4096), std::string(4096, '\0'));
    EXPECT_EQ(disk->flushes, 0);
    EXPECT_EQ(request(VIRTIO_BLK_T_FLUSH, 0), VIRTIO_BLK_S_OK);
    EXPECT_EQ(disk->flushes, 1);
    EXPECT_TRUE(host.faults.empty());
}

TEST_F(VirtioBlkTest, ABatchIsAnsweredByOneInterrupt) {
    const uint64_t place = driver->allocate(4097);
    const std::array parts{Buffer{header(VIRTIO_BLK_T_IN, 0), 16}, Buffer{place, 4097, true}};
    for (int i = 0; i < 100; ++i) driver->add_indirect(parts);
    device->on_notify(0);
    for (int i = 0; i < 100; ++i) EXPECT_EQ(driver->take_used()->length, 4097U);
    EXPECT_EQ(host.interrupts, 1);
}

TEST_F(VirtioBlkTest, ConfigurationAndSerialNumber) {
    EXPECT_EQ(config<uint64_t>(offsetof(virtio_blk_config, capacity)), kSectors);
    EXPECT_EQ(config<uint32_t>(offsetof(virtio_blk_config, blk_size)), 4096U);
    EXPECT_EQ(config<uint32_t>(offsetof(virtio_blk_config, seg_max)), 254U);
    EXPECT_EQ(config<uint64_t>(0x1000), 0U);  // past the end
    EXPECT_EQ(config<uint64_t>(UINT32_MAX), 0U);
    const uint64_t place = driver->allocate(20);
    EXPECT_EQ(request(VIRTIO_BLK_T_GET_ID, 0, {{place, 20, true}}), VIRTIO_BLK_S_OK);
    EXPECT_EQ(used_length, 21U);
    EXPECT_EQ(driver->get(place, 20), "root" + std::string(16, '\0'));
    EXPECT_EQ(request(VIRTIO_BLK_T_GET_ID, 0, {{place, 19, true}}), VIRTIO_BLK_S_IOERR);
}

TEST_F(VirtioBlkTest, WithoutFlushEveryWriteIsDurable) {
    use(std::make_unique<MemoryBackend>(kDisk), 0);
    EXPECT_EQ(write(0, pattern(4096, 'a')), VIRTIO_BLK_S_OK);
    EXPECT_EQ(disk->unflushed, 0);
    EXPECT_EQ(disk->flushes, 1);
}

TEST_F(VirtioBlkTest, DiscardAndWriteZeroesClearTheirRanges) {
    disk->bytes().assign(kDisk, 'x');
    EXPECT_EQ(ranges(VIRTIO_BLK_T_DISCARD, {{.sector = 8, .num_sectors = 8, .flags = 0},
                                            {.sector = 32, .num_sectors = 8, .flags = 0}}),
              VIRTIO_BLK_S_OK);
    EXPECT_EQ(ranges(VIRTIO_BLK_T_WRITE_ZEROES, {{.sector = 64, .num_sectors = 16, .flags = 0},
                                                 {.sector = 96, .num_sectors = 8, .flags = 1}}),
              VIRTIO_BLK_S_OK);
    EXPECT_EQ(disk->log, "discard discard zero unmap ");
    EXPECT_EQ(std::ranges::count(disk->bytes(), '\0'), 5 * 4096);
}

TEST_F(VirtioBlkTest, AnEmptySlotIsFilledLater) {
    use(nullptr);
    EXPECT_EQ(config<uint64_t>(0), 0U);
    EXPECT_EQ(request(VIRTIO_BLK_T_IN, 0, {{driver->allocate(4096), 4096, true}}),
              VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(request(VIRTIO_BLK_T_FLUSH, 0), VIRTIO_BLK_S_IOERR);
    ASSERT_TRUE(device->attach(std::make_unique<MemoryBackend>(kDisk)));
    EXPECT_EQ(host.config_changes, 1);
    EXPECT_EQ(config<uint64_t>(0), kSectors);
    EXPECT_EQ(write(0, pattern(4096, 'a')), VIRTIO_BLK_S_OK);
    EXPECT_EQ(read(0, 4096), pattern(4096, 'a'));
    EXPECT_FALSE(device->attach(std::make_unique<MemoryBackend>(kDisk)));
}

TEST_F(VirtioBlkTest, ASlotFilledBeforeItsDriverStartsIsNoTrouble) {
    device = make_virtio_blk({.name = "blk1", .serial = "", .backend = nullptr});
    ASSERT_TRUE(device->attach(std::make_unique<MemoryBackend>(kDisk, true)));
    activate();
    EXPECT_EQ(read(0, 4096), std::string(4096, '\0'));
    // The feature RO came too late: the backend refuses.
    EXPECT_EQ(write(0, pattern(4096, 'a')), VIRTIO_BLK_S_IOERR);
}

TEST_F(VirtioBlkTest, ABrokenDiskIsAnErrorForTheGuestAndNoFaultOfIts) {
    disk->fail = true;
    EXPECT_EQ(write(0, pattern(4096, 'a')), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(request(VIRTIO_BLK_T_IN, 0, {{driver->allocate(4096), 4096, true}}),
              VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(used_length, 0U);  // the data wasn't filled
    EXPECT_EQ(request(VIRTIO_BLK_T_FLUSH, 0), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(ranges(VIRTIO_BLK_T_DISCARD, {{.sector = 0, .num_sectors = 8, .flags = 0}}),
              VIRTIO_BLK_S_IOERR);
    EXPECT_TRUE(host.faults.empty());
}

TEST_F(VirtioBlkTest, Case8AHeaderAndDataSplitByteByByteAreServed) {
    const std::string bytes = pattern(4096, 'a');
    const uint64_t start = header(VIRTIO_BLK_T_OUT, 16);
    std::vector<Buffer> parts;
    for (uint32_t i = 0; i < 16; ++i) parts.push_back({start + i, 1});
    const uint64_t data = driver->put(bytes);
    uint32_t at = 0;
    for (const uint32_t size : {1U, 511U, 3U, 2000U, 1581U}) {
        parts.push_back({data + at, size});
        at += size;
    }
    EXPECT_EQ(send(parts), VIRTIO_BLK_S_OK);
    // One part holds the end of the header and the start of the data.
    const uint64_t joined = header(VIRTIO_BLK_T_OUT, 32);
    driver->put(bytes);
    EXPECT_EQ(send({{joined, 7}, {joined + 7, 9 + 4096}}), VIRTIO_BLK_S_OK);
    EXPECT_EQ(read(16, 4096), bytes);
    EXPECT_EQ(read(32, 4096), bytes);
    // Status and data share a part.
    const uint64_t place = driver->allocate(4097);
    const std::array shared{Buffer{header(VIRTIO_BLK_T_IN, 16), 16}, Buffer{place, 100, true},
                            Buffer{place + 100, 3997, true}};
    driver->add(shared);
    device->on_notify(0);
    EXPECT_EQ(driver->take_used()->length, 4097U);
    EXPECT_EQ(driver->get(place, 4097), bytes + '\0');
}

TEST_F(VirtioBlkTest, Case8RequestsWithoutStatusOrHeaderAreRefused) {
    const std::array no_status{Buffer{header(VIRTIO_BLK_T_OUT, 0), 16},
                               Buffer{driver->allocate(4096), 4096}};
    driver->add(no_status);
    device->on_notify(0);
    EXPECT_EQ(driver->take_used()->length, 0U);
    EXPECT_EQ(host.faults.size(), 1U);
    EXPECT_EQ(send({{header(VIRTIO_BLK_T_IN, 0), 15}}), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(send({}), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(disk->bytes(), std::string(kDisk, '\0'));
    EXPECT_EQ(write(0, pattern(4096, 'a')), VIRTIO_BLK_S_OK);  // and it serves on
}

TEST_F(VirtioBlkTest, Case8ReadingIntoABufferThatIsTheHeaderAndTheRingsIsHarmless) {
    const uint64_t start = header(VIRTIO_BLK_T_IN, 0);
    EXPECT_EQ(send({{start, 16}, {start & ~uint64_t{4095}, 4096, true}}), VIRTIO_BLK_S_OK);
    activate();
    disk->bytes().assign(kDisk, '\xff');
    const std::array parts{Buffer{header(VIRTIO_BLK_T_IN, 0), 16},
                           Buffer{driver->state().desc, 16384, true},
                           Buffer{driver->allocate(1), 1, true}};
    driver->add(parts);
    device->on_notify(0);
    device->on_notify(0);
    device->reset();
    activate();
    disk->bytes().assign(kDisk, 'x');
    EXPECT_EQ(read(0, 4096), std::string(4096, 'x'));
}

TEST_F(VirtioBlkTest, Case9TransfersOutsideOfTheDiskAreRefused) {
    for (const uint64_t sector :
         {kSectors, kSectors - 7, kSectors + 8, uint64_t{1}, uint64_t{7}, uint64_t{1} << 55,
          UINT64_MAX, UINT64_MAX - 7, UINT64_MAX / 512, UINT64_MAX / 512 + 1}) {
        EXPECT_EQ(write(sector, pattern(4096, 'a')), VIRTIO_BLK_S_IOERR) << sector;
        EXPECT_EQ(request(VIRTIO_BLK_T_IN, sector, {{driver->allocate(4096), 4096, true}}),
                  VIRTIO_BLK_S_IOERR)
            << sector;
        EXPECT_EQ(used_length, 0U);
    }
    EXPECT_EQ(write(kSectors - 8, pattern(8192, 'a')), VIRTIO_BLK_S_IOERR);
    for (const uint32_t size : {1U, 511U, 512U, 4095U, 4097U})
        EXPECT_EQ(write(0, pattern(size, 'a')), VIRTIO_BLK_S_IOERR) << size;
    EXPECT_EQ(disk->bytes(), std::string(kDisk, '\0'));
    EXPECT_EQ(write(kSectors - 8, pattern(4096, 'a')), VIRTIO_BLK_S_OK);  // the last block
}

TEST_F(VirtioBlkTest, Case9UnknownTypesAreUnsupported) {
    for (const uint32_t type : {2U, 3U, 5U, 10U, 14U, 15U, 0x80000001U, UINT32_MAX})
        EXPECT_EQ(request(type, 0), VIRTIO_BLK_S_UNSUPP) << type;
    use(std::make_unique<MemoryBackend>(kDisk), 1U << VIRTIO_BLK_F_FLUSH);
    EXPECT_EQ(ranges(VIRTIO_BLK_T_DISCARD, {{.sector = 0, .num_sectors = 8, .flags = 0}}),
              VIRTIO_BLK_S_UNSUPP);  // not negotiated
}

TEST_F(VirtioBlkTest, Case9DiscardAndWriteZeroesOutOfBoundsDoNothing) {
    disk->bytes().assign(kDisk, 'x');
    using Segment = virtio_blk_discard_write_zeroes;
    const auto refused = [&](const std::vector<Segment>& segments, int status) {
        EXPECT_EQ(ranges(VIRTIO_BLK_T_DISCARD, segments), status);
        EXPECT_EQ(ranges(VIRTIO_BLK_T_WRITE_ZEROES, segments), status);
    };
    const Segment good{.sector = 0, .num_sectors = 8, .flags = 0};
    refused({}, VIRTIO_BLK_S_IOERR);
    refused(std::vector<Segment>(17, good), VIRTIO_BLK_S_IOERR);
    for (const Segment& bad :
         {Segment{.sector = kSectors, .num_sectors = 8, .flags = 0},
          Segment{.sector = kSectors - 8, .num_sectors = 16, .flags = 0},
          Segment{.sector = UINT64_MAX, .num_sectors = 8, .flags = 0},
          Segment{.sector = UINT64_MAX - 7, .num_sectors = 16, .flags = 0},
          Segment{.sector = UINT64_MAX / 512 - 7, .num_sectors = 8, .flags = 0},
          Segment{.sector = 0, .num_sectors = UINT32_MAX, .flags = 0},
          Segment{.sector = 0, .num_sectors = UINT32_MAX - 7, .flags = 0},
          Segment{.sector = 1, .num_sectors = 8, .flags = 0},
          Segment{.sector = 0, .num_sectors = 7, .flags = 0}}) {
        refused({bad}, VIRTIO_BLK_S_IOERR);
        refused({good, bad}, VIRTIO_BLK_S_IOERR);  // not even the good one is done
    }
    refused({{.sector = 0, .num_sectors = 8, .flags = 2}}, VIRTIO_BLK_S_UNSUPP);
    EXPECT_EQ(ranges(VIRTIO_BLK_T_DISCARD, {{.sector = 0, .num_sectors = 8, .flags = 1}}),
              VIRTIO_BLK_S_UNSUPP);
    EXPECT_EQ(request(VIRTIO_BLK_T_DISCARD, 0, {{driver->allocate(16), 15}}), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(disk->bytes(), std::string(kDisk, 'x'));
    EXPECT_EQ(disk->log, "");
}

TEST_F(VirtioBlkTest, Case9AReadOnlyDiskIsNeverWritten) {
    use(std::make_unique<MemoryBackend>(kDisk, true));
    EXPECT_NE(device->info().features & 1U << VIRTIO_BLK_F_RO, 0U);
    EXPECT_EQ(device->info().features & 1U << VIRTIO_BLK_F_DISCARD, 0U);
    // The backend aborts the test if it is asked to.
    EXPECT_EQ(write(0, pattern(4096, 'a')), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(ranges(VIRTIO_BLK_T_DISCARD, {{.sector = 0, .num_sectors = 8, .flags = 0}}),
              VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(ranges(VIRTIO_BLK_T_WRITE_ZEROES, {{.sector = 0, .num_sectors = 8, .flags = 0}}),
              VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(read(0, 4096), std::string(4096, '\0'));
}

TEST_F(VirtioBlkTest, Case9AFullQueueIsServedInBoundedTurns) {
    const std::array parts{Buffer{header(VIRTIO_BLK_T_FLUSH, 0), 16},
                           Buffer{driver->allocate(1), 1, true}};
    // A guest that always has one ring more would otherwise keep the loop for ever.
    for (int i = 0; i < 256; ++i) driver->add_indirect(parts);
    device->on_notify(0);
    EXPECT_EQ(disk->flushes, 256);
    EXPECT_EQ(host.later, std::vector<size_t>{0});
    device->on_notify(0);
    EXPECT_EQ(host.later.size(), 1U);  // it was empty
}

TEST_F(VirtioBlkTest, Case10ResetBringsADeviceBackWhateverWasInItsRing) {
    driver->set_avail_index(5000);
    device->on_notify(0);
    ASSERT_EQ(host.resets.size(), 1U);
    device->on_notify(0);
    device->reset();
    device->on_notify(0);
    activate();
    EXPECT_EQ(write(0, pattern(4096, 'a')), VIRTIO_BLK_S_OK);
}

TEST_F(VirtioBlkTest, Case10AQuietDeviceLeavesRequestsForItsRestoredSelf) {
    EXPECT_EQ(write(0, pattern(4096, 'a')), VIRTIO_BLK_S_OK);
    device->quiesce([] {});
    const uint64_t place = driver->allocate(4097);
    const std::array parts{Buffer{header(VIRTIO_BLK_T_IN, 0), 16}, Buffer{place, 4097, true}};
    driver->add_indirect(parts);
    device->on_notify(0);
    EXPECT_FALSE(driver->take_used());
    Encoder state;
    device->save(state);
    const QueueState queue = device->queue(0)->state();

    auto backend = std::make_unique<MemoryBackend>(kDisk);
    backend->bytes() = disk->bytes();
    device = make_virtio_blk({.name = "blk0", .serial = "root", .backend = std::move(backend)});
    Decoder in(state.bytes());
    ASSERT_TRUE(device->restore(in));
    activate_at(queue, kFeatures);
    device->on_notify(0);
    EXPECT_EQ(driver->take_used()->length, 4097U);
    EXPECT_EQ(driver->get(place, 4096), pattern(4096, 'a'));
}

TEST_F(VirtioBlkTest, RestoreRefusesAnotherDiskAndTornState) {
    device->quiesce([] {});
    Encoder state;
    device->save(state);
    const auto other = make_virtio_blk(
        {.name = "b", .serial = "", .backend = std::make_unique<MemoryBackend>(2 * kDisk)});
    Decoder in(state.bytes());
    EXPECT_FALSE(other->restore(in));
    Decoder torn(std::string_view(state.bytes()).substr(1));
    EXPECT_FALSE(device->restore(torn));
}

TEST_F(VirtioBlkTest, Case12AFormatsHeaderInARawDiskIsOnlyBytes) {
    // Nothing ever probes a disk's format: what a guest writes comes back raw, also after a reboot.
    for (const std::string& magic :
         {std::string("QFI\xfb\0\0\0\3", 8), std::string("KDMV\1\0\0\0", 8),
          std::string("conectix"), std::string("vhdxfile")}) {
        std::string block = pattern(4096, 'a');
        block.replace(0, magic.size(), magic);
        EXPECT_EQ(write(0, block), VIRTIO_BLK_S_OK);
        device->reset();
        activate();
        EXPECT_EQ(config<uint64_t>(0), kSectors);
        EXPECT_EQ(read(0, 4096), block);
    }
}

/// A raw disk whose operations end when the test says so.
struct InFlightTest : VirtioBlkTest {
    InFlightTest() {
        Fd file(::memfd_create("disk", MFD_CLOEXEC));
        EXPECT_EQ(::ftruncate(file.get(), kDisk), 0);
        const std::string content(kDisk, 'x');
        EXPECT_TRUE(write_exact(file.get(), std::as_bytes(std::span(content)), 0));
        auto raw = imagefs::open_raw_disk(std::move(file), false);
        device = make_virtio_blk({.name = "blk0",
                                  .serial = "root",
                                  .backend = std::move(raw).value(),
                                  .io = std::make_unique<imagefs::test::ScriptedIo>(script)});
        activate();
    }
    ~InFlightTest() override { device.reset(); }

    /// A read that isn't waited for; returns where its data and then its status go.
    uint64_t start_read(uint64_t sector) {
        const uint64_t place = driver->put(std::string(4097, '.'));
        const std::array parts{Buffer{header(VIRTIO_BLK_T_IN, sector), 16},
                               Buffer{place, 4097, true}};
        driver->add_indirect(parts);
        return place;
    }

    imagefs::test::ScriptedIo::Script script;
};

TEST_F(InFlightTest, ManyRequestsAreInFlightAndEndInAnyOrder) {
    for (uint64_t i = 0; i < 10; ++i) start_read(i * 8);
    device->on_notify(0);
    EXPECT_EQ(script.under_way.size(), 10U);
    EXPECT_EQ(device->queue(0)->in_flight(), 10U);
    EXPECT_EQ(host.interrupts, 0);
    for (int i = 0; i < 3; ++i) script.finish(script.under_way.size() - 1);
    device->on_notify(0);
    EXPECT_EQ(host.interrupts, 1);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(driver->take_used()->length, 4097U);
    EXPECT_FALSE(driver->take_used());
}

TEST_F(InFlightTest, ABusyDiskIsNotGivenMoreThanItTakes) {
    for (uint64_t i = 0; i < 200; ++i) start_read(i % 64 * 8);
    device->on_notify(0);
    EXPECT_EQ(script.under_way.size(), 128U);
    EXPECT_EQ(device->queue(0)->in_flight(), 128U);
    EXPECT_TRUE(host.later.empty()) << "who ends, not the loop, brings it back";
    script.finish(3);
    device->on_notify(0);
    EXPECT_EQ(script.under_way.size(), 128U);
    script.at_once = true;
    device->on_notify(0);
    for (int i = 0; i < 200; ++i) EXPECT_TRUE(driver->take_used()) << i;
}

TEST_F(InFlightTest, QuietIsWhenTheLastRequestHasEnded) {
    start_read(0);
    device->on_notify(0);
    int quiet = 0;
    device->quiesce([&] { ++quiet; });
    start_read(8);
    device->on_notify(0);
    EXPECT_EQ(quiet, 0);
    EXPECT_EQ(script.under_way.size(), 1U) << "a quiet device takes no more";
    device->reset();  // which waits
    EXPECT_EQ(quiet, 1);
}

TEST_F(InFlightTest, WhoGoesOnBeforeItIsQuietIsntToldThatItIs) {
    start_read(0);
    device->on_notify(0);
    bool quiet = false;
    device->quiesce([&] { quiet = true; });
    device->resume();
    device->reset();  // which waits
    EXPECT_FALSE(quiet);
}

TEST_F(InFlightTest, Case10AResetWaitsForWhatMayStillTouchGuestMemory) {
    const uint64_t place = start_read(0);
    start_read(8);
    device->on_notify(0);
    EXPECT_EQ(driver->get(place, 1), ".");
    device->reset();
    EXPECT_TRUE(script.under_way.empty());
    EXPECT_EQ(driver->get(place, 1), "x") << "before the reset was over, not after";
    EXPECT_EQ(device->queue(0), nullptr);
    script.at_once = true;
    activate();
    EXPECT_EQ(read(0, 4096), std::string(4096, 'x'));
}

TEST_F(InFlightTest, Case10ABrokenRingLeavesWhatIsInFlightAlone) {
    start_read(0);
    device->on_notify(0);
    driver->set_avail_index(5000);
    device->on_notify(0);
    EXPECT_EQ(host.resets.size(), 1U);
    device->on_notify(0);
    EXPECT_EQ(host.resets.size(), 1U);
    device->reset();
    script.at_once = true;
    activate();
    EXPECT_EQ(read(0, 4096), std::string(4096, 'x'));
}

TEST_F(InFlightTest, AFullHostIsNoErrorForTheGuest) {
    script.next_results = {ENOSPC};
    const uint64_t status = driver->put(std::string(1, '.'));
    const std::array parts{Buffer{header(VIRTIO_BLK_T_OUT, 0), 16},
                           Buffer{driver->put(std::string(4096, 'y')), 4096},
                           Buffer{status, 1, true}};
    driver->add(parts);
    device->on_notify(0);
    EXPECT_TRUE(device->waits_for_room());
    EXPECT_FALSE(driver->take_used());
    script.at_once = true;
    bool quiet = false;
    device->quiesce([&] { quiet = true; });  // tries again
    EXPECT_TRUE(quiet);
    EXPECT_FALSE(device->waits_for_room());
    EXPECT_TRUE(driver->take_used());
    EXPECT_EQ(driver->get(status, 1)[0], VIRTIO_BLK_S_OK);
}

}  // namespace
}  // namespace drupe::virtio
