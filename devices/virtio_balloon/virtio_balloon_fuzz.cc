#define VIRTIO_RING_NO_LEGACY
#include <linux/virtio_ring.h>

#include <array>

#include "base/check.h"
#include "devices/virtio/testing/fuzz_device.h"
#include "devices/virtio_balloon/virtio_balloon.h"

using namespace drupe;
using namespace drupe::virtio;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    FuzzedDataProvider input(data, size);
    const auto device = make_virtio_balloon("balloon");
    // The rings may be in what is free.
    const auto request = [&](testing::FakeDriver& driver) {
        driver.set_descriptor(0, input.ConsumeIntegralInRange<uint64_t>(0, 3 << 20),
                              input.ConsumeIntegralInRange<uint32_t>(0, 3 << 20),
                              VRING_DESC_F_WRITE, 0);
        driver.publish(0);
    };
    const auto honest = [&](testing::FakeDriver& driver) {
        const std::array buffers{testing::Buffer{driver.allocate(4096, 4096), 4096, true}};
        const auto page = *testing::fuzz_memory().slice(buffers[0].address, 4096);
        page.store(100, 'x');
        driver.add(buffers);
        device->on_notify(VirtioBalloon::kReportingQueue);
        DRUPE_CHECK(driver.take_used()->length == 0);
        DRUPE_CHECK(page.is_zero());
    };
    testing::fuzz_device(input, *device, request, honest, VirtioBalloon::kReportingQueue);
    return 0;
}
