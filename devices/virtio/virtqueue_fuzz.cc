// Rings of the input's choice, changed between any two calls of the device's side.
#include "base/check.h"
#include "devices/virtio/testing/fuzz_device.h"

using namespace drupe;
using namespace drupe::virtio;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    FuzzedDataProvider input(data, size);
    const GuestMemory& memory = testing::fuzz_memory();
    memory.slice(0, 128 << 10)->fill_zero();
    testing::FakeDriver driver(
        memory,
        {.base = 0x1000, .size = static_cast<uint16_t>(1U << input.ConsumeIntegralInRange(0, 6))});
    QueueState place = driver.state();
    if (input.ConsumeBool()) {
        place.next_avail = input.ConsumeIntegral<uint16_t>();
        place.next_used = input.ConsumeIntegral<uint16_t>();
    }
    if (input.ConsumeIntegralInRange(0, 15) == 0) place.desc = input.ConsumeIntegral<uint64_t>();
    if (input.ConsumeIntegralInRange(0, 15) == 0) place.used = input.ConsumeIntegral<uint64_t>();
    if (input.ConsumeIntegralInRange(0, 15) == 0) place.size = input.ConsumeIntegral<uint16_t>();
    auto created = VirtQueue::create(
        memory, place,
        {.max_size = 64, .event_idx = input.ConsumeBool(), .indirect = input.ConsumeBool()});
    if (!created) return 0;
    VirtQueue queue = std::move(created).value();

    std::vector<DescriptorChain> held;
    std::array<std::byte, 256> bytes{};
    while (input.remaining_bytes() > 0) {
        switch (input.ConsumeIntegralInRange(0, 7)) {
            case 0:
                (void)queue.needs_interrupt();
                break;
            case 1:
                (void)queue.enable_notifications();
                break;
            case 2:
                queue.disable_notifications();
                break;
            case 3:
                if (!held.empty()) {
                    const auto writable = held.back().writable_size();
                    held.back().write(input.ConsumeIntegral<uint16_t>(), bytes);
                    queue.complete(std::move(held.back()), static_cast<uint32_t>(writable));
                    held.pop_back();
                }
                break;
            case 4: {
                auto chain = queue.pop();
                if (!chain || !chain.value()) break;
                const auto& parts = *chain.value();
                DRUPE_CHECK(parts.readable().size() + parts.writable().size() <= queue.size());
                uint64_t total = 0;
                for (const GuestSlice& part : parts.readable()) total += part.size();
                DRUPE_CHECK(total == parts.readable_size());
                for (const GuestSlice& part : parts.writable()) total += part.size();
                DRUPE_CHECK(total == parts.readable_size() + parts.writable_size());
                parts.read(input.ConsumeIntegral<uint16_t>(), bytes);
                held.push_back(std::move(*chain.value()));
                DRUPE_CHECK(held.size() == queue.in_flight() && held.size() <= queue.size());
                break;
            }
            default:
                testing::fuzz_ring(input, driver, memory);
                break;
        }
    }
    for (DescriptorChain& chain : held) queue.complete(std::move(chain), 0);
    DRUPE_CHECK(queue.in_flight() == 0);
    return 0;
}
