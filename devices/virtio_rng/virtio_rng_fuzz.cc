#include <algorithm>
#include <array>

#include "base/check.h"
#include "devices/virtio/testing/fuzz_device.h"
#include "devices/virtio_rng/virtio_rng.h"

using namespace drupe;
using namespace drupe::virtio;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    FuzzedDataProvider input(data, size);
    const auto device = make_virtio_rng("rng0", [](std::span<std::byte> out) -> Status {
        std::ranges::fill(out, std::byte{0x5a});
        return ok();
    });
    testing::fuzz_device(input, *device, {}, [&](testing::FakeDriver& driver) {
        const std::array buffers{testing::Buffer{driver.allocate(8), 8, true}};
        driver.add(buffers);
        device->on_notify(0);
        DRUPE_CHECK(driver.take_used()->length == 8);
    });
    return 0;
}
