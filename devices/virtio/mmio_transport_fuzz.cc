// Register accesses of any kind, pauses, and saves and restores, also of forged state.
#include <linux/virtio_mmio.h>

#include <array>

#include "base/check.h"
#include "devices/virtio/mmio_transport.h"
#include "devices/virtio/serve_queue.h"
#include "devices/virtio/testing/fuzz_device.h"
#include "devices/virtio/testing/inline_loop.h"

using namespace drupe;
using namespace drupe::virtio;

namespace {

struct NoInterrupt final : public Interrupt {
    void trigger() override {}
};

/// The simplest device with two queues; checks that it is called by its state machine only.
class EchoDevice final : public VirtioDevice {
  public:
    const DeviceInfo& info() const override { return info_; }
    void read_config(uint32_t, std::span<std::byte>) override {}
    void write_config(uint32_t, std::span<const std::byte>) override {}
    void activate(Activation activation) override {
        DRUPE_CHECK(state_ == State::kNew && activation.queues.size() == 2);
        state_ = State::kActive;
        activation_ = std::move(activation);
    }
    void on_notify(size_t index) override {
        DRUPE_CHECK(state_ == State::kActive && index < 2);
        if (auto& queue = activation_.queues[index])
            serve_queue(*queue, index, *activation_.host,
                        [](const DescriptorChain&) { return uint32_t{0}; });
    }
    void reset() override {
        DRUPE_CHECK(state_ != State::kNew);
        state_ = State::kNew;
        activation_ = {};
    }
    const VirtQueue* queue(size_t index) const override {
        const auto& queue = activation_.queues.at(index);
        return queue ? &*queue : nullptr;
    }
    void quiesce(std::function<void()> done) override {
        DRUPE_CHECK(state_ == State::kActive);
        state_ = State::kQuiet;
        done();
    }
    void resume() override {
        DRUPE_CHECK(state_ == State::kQuiet);
        state_ = State::kActive;
    }
    void save(Encoder&) const override {}
    Status restore(Decoder& in) override {
        if (!in.at_end()) return Error{ErrorCode::kInvalid, "no state expected"};
        return ok();
    }

  private:
    enum class State { kNew, kActive, kQuiet };
    DeviceInfo info_{.name = "echo", .device_id = 42, .features = 6, .queue_sizes = {16, 8}};
    State state_ = State::kNew;
    Activation activation_;
};

/// Its vCPUs never wait for a reset: this thread is the loop's too.
std::shared_ptr<MmioTransport> connect(testing::InlineLoop& loop) {
    auto transport = MmioTransport::create(std::make_shared<EchoDevice>(),
                                           {.loop = &loop,
                                            .memory = &testing::fuzz_memory(),
                                            .interrupt = std::make_unique<NoInterrupt>(),
                                            .on_fault = {}})
                         .value();
    transport->release_vcpus();
    return transport;
}

/// A driver in front of a transport, and the loop behind it, in one sequence.
struct Machine {
    testing::InlineLoop loop;
    std::shared_ptr<MmioTransport> transport = connect(loop);
    bool quiet = false;

    void write(uint64_t offset, std::span<const std::byte> data) {
        transport->write(offset, data);
        // Where a vCPU would wait for the loop.
        if (offset == VIRTIO_MMIO_STATUS) loop.deliver_posted();
    }
    void set(uint64_t offset, uint32_t value) {
        write(offset, std::as_bytes(std::span(&value, 1)));
    }
    uint32_t get(uint64_t offset) {
        uint32_t value = 0;
        transport->read(offset, std::as_writable_bytes(std::span(&value, 1)));
        return value;
    }
    void set_queue(uint32_t index, const QueueState& place) {
        set(VIRTIO_MMIO_QUEUE_SEL, index);
        set(VIRTIO_MMIO_QUEUE_NUM, place.size);
        set(VIRTIO_MMIO_QUEUE_DESC_LOW, static_cast<uint32_t>(place.desc));
        set(VIRTIO_MMIO_QUEUE_AVAIL_LOW, static_cast<uint32_t>(place.avail));
        set(VIRTIO_MMIO_QUEUE_USED_LOW, static_cast<uint32_t>(place.used));
        set(VIRTIO_MMIO_QUEUE_READY, 1);
    }
    void start(const QueueState& place) {
        set(VIRTIO_MMIO_STATUS, 0);
        set(VIRTIO_MMIO_STATUS, 3);
        set(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
        set(VIRTIO_MMIO_DRIVER_FEATURES, 1);
        set(VIRTIO_MMIO_STATUS, 11);
        set_queue(0, place);
        set(VIRTIO_MMIO_STATUS, 15);
    }
    void pause_or_resume() {
        if (quiet) {
            transport->resume();
        } else {
            transport->quiesce([] {});
            loop.deliver_posted();
        }
        quiet = !quiet;
    }
    /// Goes on in a new transport, from saved state that may be forged.
    void move_on(FuzzedDataProvider& input) {
        loop.deliver_posted();  // nothing may refer to the old one
        Encoder state;
        transport->save(state);
        std::string bytes = state.take();
        const bool forged = input.ConsumeBool();
        if (forged)
            bytes[input.ConsumeIntegralInRange<size_t>(0, bytes.size() - 1)] =
                input.ConsumeIntegral<char>();
        transport = connect(loop);
        Decoder in(bytes);
        quiet = transport->restore(in).has_value();
        DRUPE_CHECK(quiet || forged);
        if (!quiet) transport = connect(loop);
    }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    FuzzedDataProvider input(data, size);
    const GuestMemory& memory = testing::fuzz_memory();
    memory.slice(0, 128 << 10)->fill_zero();
    testing::FakeDriver driver(memory, {.base = 0x1000, .size = 8});
    Machine machine;
    for (int step = 0; step < 300 && input.remaining_bytes() > 0; ++step) {
        switch (input.ConsumeIntegralInRange(0, 15)) {
            case 0:
                machine.start(driver.state());
                break;
            case 1:
                machine.set_queue(input.ConsumeIntegralInRange(0, 3), driver.state());
                break;
            case 2:
                machine.pause_or_resume();
                break;
            case 3:
                if (machine.quiet) machine.move_on(input);
                break;
            case 4:
                machine.loop.deliver();
                break;
            case 5:
            case 6:
                testing::fuzz_ring(input, driver, memory);
                break;
            case 7: {
                // Any offset and width.
                std::array<std::byte, 8> bytes{};
                const auto span =
                    std::span(bytes).first(input.ConsumeIntegralInRange<size_t>(1, 8));
                const auto offset = input.ConsumeIntegral<uint64_t>();
                machine.write(offset, span);
                machine.transport->read(offset, span);
                break;
            }
            case 8:
            case 9:
                machine.get(input.ConsumeIntegralInRange<uint64_t>(0, 0x50) * 4);
                break;
            case 10:
                machine.set(VIRTIO_MMIO_STATUS, input.ConsumeIntegral<uint8_t>());
                break;
            default:
                machine.set(input.ConsumeIntegralInRange<uint64_t>(0, 0x50) * 4,
                            input.ConsumeIntegral<uint32_t>());
                break;
        }
    }
    // Whatever happened, a plain reset brings the device back.
    if (machine.quiet) machine.pause_or_resume();
    testing::FakeDriver good(memory, {.base = 1 << 20, .size = 8});
    machine.start(good.state());
    const std::array buffers{testing::Buffer{good.allocate(8), 8, true}};
    good.add(buffers);
    machine.set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    machine.loop.deliver();
    DRUPE_CHECK(machine.get(VIRTIO_MMIO_STATUS) == 15);
    DRUPE_CHECK(good.take_used().has_value());
    return 0;
}
