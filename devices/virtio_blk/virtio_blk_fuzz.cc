#include <linux/virtio_blk.h>
#define VIRTIO_RING_NO_LEGACY
#include <linux/virtio_ring.h>

#include <array>

#include "base/check.h"
#include "devices/virtio/testing/fuzz_device.h"
#include "devices/virtio_blk/testing/memory_backend.h"
#include "devices/virtio_blk/virtio_blk.h"

using namespace drupe;
using namespace drupe::virtio;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    FuzzedDataProvider input(data, size);
    constexpr uint64_t kDisk = 64 << 10;
    const bool read_only = input.ConsumeBool();
    // The backend aborts when it is asked for something that should have been refused.
    const auto device =
        make_virtio_blk({.name = "blk0",
                         .serial = "root",
                         .backend = std::make_unique<testing::MemoryBackend>(kDisk, read_only)});
    const auto request = [&](testing::FakeDriver& driver) {
        constexpr uint64_t kHeader = 0x9000;
        const virtio_blk_outhdr header{
            .type = input.ConsumeBool() ? input.ConsumeIntegralInRange<uint32_t>(0, 15)
                                        : input.ConsumeIntegral<uint32_t>(),
            .ioprio = 0,
            .sector = input.ConsumeBool() ? input.ConsumeIntegralInRange<uint64_t>(0, 16) * 8
                                          : input.ConsumeIntegral<uint64_t>()};
        const bool writable = input.ConsumeBool();
        const uint32_t size = input.ConsumeBool()
                                  ? input.ConsumeIntegralInRange<uint32_t>(0, 4) * 4096
                                  : input.ConsumeIntegralInRange<uint32_t>(0, 8192);
        DRUPE_CHECK(testing::fuzz_memory().write(kHeader, header));
        driver.set_descriptor(0, kHeader, sizeof header, VRING_DESC_F_NEXT, 1);
        driver.set_descriptor(1, input.ConsumeIntegralInRange<uint64_t>(kHeader, 0x10000), size,
                              VRING_DESC_F_NEXT | (writable ? VRING_DESC_F_WRITE : 0), 2);
        driver.set_descriptor(2, 0xa000, 1, VRING_DESC_F_WRITE, 0);
        driver.publish(0);
    };
    testing::fuzz_device(input, *device, request, [&](testing::FakeDriver& driver) {
        const virtio_blk_outhdr header{.type = VIRTIO_BLK_T_IN, .ioprio = 0, .sector = 0};
        const uint64_t start = driver.put({reinterpret_cast<const char*>(&header), sizeof header});
        const std::array buffers{testing::Buffer{start, sizeof header},
                                 testing::Buffer{driver.allocate(4097), 4097, true}};
        driver.add(buffers);
        device->on_notify(0);
        DRUPE_CHECK(driver.take_used()->length == 4097);
        DRUPE_CHECK(driver.get(buffers[1].address + 4096, 1)[0] == VIRTIO_BLK_S_OK);
    });
    return 0;
}
