#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>

#include <array>
#include <atomic>
#include <cstring>
#include <future>
#include <thread>

#include "devices/virtio/mmio_transport.h"
#include "devices/virtio/serve_queue.h"
#include "devices/virtio/testing/fake_driver.h"

namespace drupe::virtio::testing {

constexpr uint64_t kVersion1 = uint64_t{1} << VIRTIO_F_VERSION_1;
constexpr uint64_t kDeviceFeature = 1 << 3;
constexpr uint32_t kRunning = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
                              VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;

class CountingInterrupt final : public Interrupt {
  public:
    explicit CountingInterrupt(std::atomic<int>& count) : count_(count) {}
    void trigger() override { ++count_; }

  private:
    std::atomic<int>& count_;
};

/// Fills every buffer with 'x'. It can hold a chain back, as a device with I/O in flight does, and
/// insists on its state machine.
class FakeDevice final : public VirtioDevice {
  public:
    const DeviceInfo& info() const override { return info_; }
    void read_config(uint32_t offset, std::span<std::byte> out) override {
        for (std::byte& byte : out) byte = static_cast<std::byte>(offset++);
    }
    void write_config(uint32_t offset, std::span<const std::byte> data) override {
        config_write = {offset, data.size()};
    }
    void activate(Activation activation) override {
        EXPECT_EQ(state_, State::kNew);
        state_ = State::kActive;
        features = activation.features;
        host = activation.host;
        queues_ = std::move(activation.queues);
        ++activations;
    }
    void on_notify(size_t index) override {
        EXPECT_EQ(state_, State::kActive);
        ++notifies;
        if (!queues_[index]) return;
        if (hold) {
            auto chain = queues_[index]->pop();
            if (chain && chain.value()) held_.emplace_back(std::move(*chain.value()));
            return;
        }
        serve_queue(*queues_[index], index, *host, [](const DescriptorChain& chain) {
            return static_cast<uint32_t>(chain.write(0, std::as_bytes(std::span("x", 1))));
        });
    }
    void reset() override {
        EXPECT_NE(state_, State::kNew);
        finish();
        queues_.clear();
        state_ = State::kNew;
        ++resets;
    }
    const VirtQueue* queue(size_t index) const override {
        return index < queues_.size() && queues_[index] ? &*queues_[index] : nullptr;
    }
    void quiesce(std::function<void()> done) override {
        EXPECT_EQ(state_, State::kActive);
        finish();
        state_ = State::kQuiet;
        done();
    }
    void resume() override {
        EXPECT_EQ(state_, State::kQuiet);
        state_ = State::kActive;
    }
    void save(Encoder& out) const override { out.put<uint32_t>(42); }
    Status restore(Decoder& in) override {
        EXPECT_EQ(state_, State::kNew);
        if (in.get<uint32_t>() != 42 || !in.at_end())
            return Error{ErrorCode::kInvalid, "not a fake device's state"};
        return ok();
    }

    bool hold = false;
    uint64_t features = 0;
    DeviceHost* host = nullptr;
    std::pair<uint32_t, size_t> config_write;
    int activations = 0;
    int notifies = 0;
    int resets = 0;

  private:
    enum class State { kNew, kActive, kQuiet };
    void finish() {
        for (DescriptorChain& chain : held_) queues_[0]->complete(std::move(chain), 0);
        held_.clear();
    }

    DeviceInfo info_{
        .name = "fake0", .device_id = 42, .features = kDeviceFeature, .queue_sizes = {16, 8}};
    State state_ = State::kNew;
    std::vector<std::optional<VirtQueue>> queues_;
    std::vector<DescriptorChain> held_;
};

inline GuestMemory make_memory() {
    const std::array<GuestMemory::Range, 1> ranges{{{0, 4 << 20}}};
    return std::move(GuestMemory::create(ranges)).value();
}

/// A fake device on a loop of its own thread, and its driver.
struct MmioFixture : public ::testing::Test {
    MmioFixture() {
        connect();
        thread = std::thread([this] { loop->run(); });
    }
    ~MmioFixture() override {
        loop->stop();
        thread.join();
        transport.reset();
    }
    /// A new device behind a new transport.
    void connect() {
        device = std::make_shared<FakeDevice>();
        transport = MmioTransport::create(
                        device, {.loop = loop.get(),
                                 .memory = &memory,
                                 .interrupt = std::make_unique<CountingInterrupt>(interrupts),
                                 .on_fault =
                                     [this](const std::string& name, const std::string& what) {
                                         const MutexLock lock(faults_mutex);
                                         faults += name + ": " + what + "\n";
                                     }})
                        .value();
    }
    template <class F>
    void on_loop(F&& call) {
        std::promise<void> done;
        loop->post([&] {
            call();
            done.set_value();
        });
        done.get_future().wait();
    }
    /// Returns when everything that is pending now, kicks too, has been handled.
    void settle() {
        for (int i = 0; i < 3; ++i) on_loop([] {});
    }
    std::string take_faults() {
        const MutexLock lock(faults_mutex);
        return std::exchange(faults, {});
    }

    // The driver's side.
    uint32_t get(uint64_t offset) {
        uint32_t value = 0;
        transport->read(offset, std::as_writable_bytes(std::span(&value, 1)));
        return value;
    }
    void set(uint64_t offset, uint32_t value) {
        transport->write(offset, std::as_bytes(std::span(&value, 1)));
    }
    uint32_t status() { return get(VIRTIO_MMIO_STATUS); }
    void add_status(uint32_t bits) { set(VIRTIO_MMIO_STATUS, status() | bits); }
    void negotiate(uint64_t features) {
        add_status(VIRTIO_CONFIG_S_ACKNOWLEDGE);
        add_status(VIRTIO_CONFIG_S_DRIVER);
        for (uint32_t half = 0; half < 2; ++half) {
            set(VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
            set(VIRTIO_MMIO_DRIVER_FEATURES, static_cast<uint32_t>(features >> (32 * half)));
        }
        add_status(VIRTIO_CONFIG_S_FEATURES_OK);
    }
    void set_queue(uint32_t index, const QueueState& place) {
        set(VIRTIO_MMIO_QUEUE_SEL, index);
        set(VIRTIO_MMIO_QUEUE_NUM, place.size);
        set(VIRTIO_MMIO_QUEUE_DESC_LOW, static_cast<uint32_t>(place.desc));
        set(VIRTIO_MMIO_QUEUE_DESC_HIGH, static_cast<uint32_t>(place.desc >> 32));
        set(VIRTIO_MMIO_QUEUE_AVAIL_LOW, static_cast<uint32_t>(place.avail));
        set(VIRTIO_MMIO_QUEUE_AVAIL_HIGH, static_cast<uint32_t>(place.avail >> 32));
        set(VIRTIO_MMIO_QUEUE_USED_LOW, static_cast<uint32_t>(place.used));
        set(VIRTIO_MMIO_QUEUE_USED_HIGH, static_cast<uint32_t>(place.used >> 32));
        set(VIRTIO_MMIO_QUEUE_READY, 1);
    }
    /// All that a driver does at probe, as Linux's does it.
    void start(uint64_t features = kVersion1) {
        set(VIRTIO_MMIO_STATUS, 0);
        negotiate(features);
        driver.emplace(memory, FakeDriver::Options{});
        set_queue(0, driver->state());
        add_status(VIRTIO_CONFIG_S_DRIVER_OK);
        settle();
    }
    /// A request through the whole device. By ioeventfd, or by register as without one.
    void expect_served(bool by_register = false) {
        const std::array buffers{Buffer{driver->allocate(8), 8, true}};
        driver->add(buffers);
        if (by_register) {
            set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
        } else {
            signal_eventfd(transport->notify_fd(0));
        }
        settle();
        const auto used = driver->take_used();
        ASSERT_TRUE(used);
        EXPECT_EQ(used->length, 1U);
    }

    GuestMemory memory = make_memory();
    std::unique_ptr<EventLoop> loop = make_event_loop();
    std::atomic<int> interrupts = 0;
    Mutex faults_mutex;
    std::string faults;
    std::shared_ptr<FakeDevice> device;
    std::shared_ptr<MmioTransport> transport;
    std::optional<FakeDriver> driver;
    std::thread thread;
};

}  // namespace drupe::virtio::testing
