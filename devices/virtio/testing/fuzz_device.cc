#include "devices/virtio/testing/fuzz_device.h"

#include <array>

#include "base/check.h"

namespace drupe::virtio::testing {
namespace {

constexpr uint64_t kRam = 2 << 20;
constexpr uint64_t kRings = 0x1000;
constexpr uint64_t kReach = 64 << 10;

void activate(VirtioDevice& device, size_t index, FakeHost& host, const QueueState& place,
              uint64_t features, bool event_idx) {
    Activation activation;
    activation.features = features;
    activation.host = &host;
    auto queue = VirtQueue::create(
        fuzz_memory(), place,
        {.max_size = device.info().queue_sizes[index], .event_idx = event_idx, .indirect = true});
    DRUPE_CHECK(queue.has_value());
    activation.queues.resize(device.info().queue_sizes.size());
    activation.queues[index] = std::move(queue).value();
    device.activate(std::move(activation));
}

}  // namespace

const GuestMemory& fuzz_memory() {
    static const GuestMemory memory = [] {
        const std::array<GuestMemory::Range, 1> ranges{{{0, kRam}}};
        return std::move(GuestMemory::create(ranges)).value();
    }();
    return memory;
}

void fuzz_ring(FuzzedDataProvider& input, FakeDriver& driver, const GuestMemory& memory) {
    const uint16_t size = driver.state().size;
    const auto near = [&] { return input.ConsumeIntegralInRange<uint64_t>(0, kReach); };
    switch (input.ConsumeIntegralInRange(0, 5)) {
        case 0:
            driver.set_descriptor(input.ConsumeIntegralInRange<uint16_t>(0, size - 1U), near(),
                                  input.ConsumeIntegralInRange<uint32_t>(0, 8192),
                                  input.ConsumeIntegralInRange<uint16_t>(0, 7),
                                  input.ConsumeIntegralInRange<uint16_t>(0, size));
            break;
        case 1:
            driver.set_descriptor_at(near() & ~uint64_t{15}, input.ConsumeIntegral<uint64_t>(),
                                     input.ConsumeIntegral<uint32_t>(),
                                     input.ConsumeIntegral<uint16_t>(),
                                     input.ConsumeIntegral<uint16_t>());
            break;
        case 2: {
            const auto count = input.ConsumeIntegralInRange(1, 4);
            for (int i = 0; i < count; ++i)
                driver.publish(input.ConsumeIntegralInRange<uint16_t>(0, size - 1U));
            break;
        }
        case 3:
            if (input.ConsumeBool()) {
                driver.set_avail_index(input.ConsumeIntegral<uint16_t>());
            } else {
                driver.publish(input.ConsumeIntegral<uint16_t>());
            }
            break;
        default: {
            const auto bytes = input.ConsumeBytes<std::byte>(input.ConsumeIntegralInRange(0, 64));
            memory.slice(near(), bytes.size())->copy_from(bytes);
            break;
        }
    }
}

void fuzz_device(FuzzedDataProvider& input, VirtioDevice& device,
                 const std::function<void(FakeDriver&)>& request,
                 const std::function<void(FakeDriver&)>& honest, size_t queue) {
    const GuestMemory& memory = fuzz_memory();
    memory.slice(0, 2 * kReach)->fill_zero();
    const uint16_t largest = device.info().queue_sizes[queue];
    const bool event_idx = input.ConsumeBool();
    const uint16_t size = static_cast<uint16_t>(largest >> input.ConsumeIntegralInRange(0, 3));
    const uint64_t features =
        device.info().features &
        (input.ConsumeBool() ? ~uint64_t{0} : input.ConsumeIntegral<uint64_t>());
    FakeHost host;
    FakeDriver driver(memory, {.base = kRings, .size = size, .event_idx = event_idx});
    activate(device, queue, host, driver.state(), features, event_idx);

    bool quiet = false;
    for (int step = 0; step < 200 && input.remaining_bytes() > 0; ++step) {
        switch (input.ConsumeIntegralInRange(0, 15)) {
            case 0:
                device.reset();
                activate(device, queue, host, driver.state(), features, event_idx);
                host.resets.clear();
                quiet = false;
                break;
            case 1:
                if (std::exchange(quiet, !quiet)) {
                    device.resume();
                } else {
                    device.quiesce([] {});
                }
                break;
            case 2:
                if (quiet) {
                    Encoder state;
                    device.save(state);
                    const QueueState place = device.queue(queue)->state();
                    device.reset();
                    Decoder in(state.bytes());
                    DRUPE_CHECK(device.restore(in).has_value());
                    activate(device, queue, host, place, features, event_idx);
                    quiet = false;
                }
                break;
            case 3:
            case 4:
            case 5:
                // A transport gives a broken device no more kicks.
                if (!quiet && host.resets.empty()) device.on_notify(queue);
                break;
            case 6:
            case 7:
            case 8:
                if (request) request(driver);
                break;
            default:
                fuzz_ring(input, driver, memory);
                break;
        }
    }
    device.reset();
    FakeDriver good(memory, {.base = 1 << 20, .size = largest});
    activate(device, queue, host, good.state(), device.info().features, false);
    honest(good);
    device.reset();
}

}  // namespace drupe::virtio::testing
