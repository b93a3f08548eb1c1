#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/codec.h"
#include "base/event_loop.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/result.h"
#include "devices/virtio/device.h"
#include "devices/virtio/virtqueue.h"
#include "vmm/bus.h"
#include "vmm/interrupt.h"
#include "vmm/memory/guest_memory.h"

namespace drupe::virtio {

/// Tells the VM's owner that a guest broke a rule: (device's name, what it did). Called on vCPU
/// threads and device loops; already rate-limited, so the text may go to a log.
using FaultReporter = std::function<void(const std::string&, const std::string&)>;

/// The virtio-mmio register block, version 2 (virtio 1.2, 4.2), in front of one device.
///
/// Register accesses come on vCPU threads, the device lives on its loop. Activation and kicks are
/// posted. A reset of an active device blocks the vCPU that wrote it until the device has let go of
/// guest memory, because drivers (Linux's among them) reuse the rings' memory right after the
/// write. So the loop never waits for a vCPU without release_vcpus(), and a pause of vCPUs must not
/// block it. Quiesce, resume, save and restore are called on the loop (restore also while it
/// doesn't run yet), with the vCPUs paused. Destroyed when neither runs.
class MmioTransport final : public BusDevice, private DeviceHost {
  public:
    static constexpr uint64_t kWindowBytes = 0x1000;
    /// Where a 4-byte write of a queue's index kicks it: register ioeventfds here, datamatch on.
    static constexpr uint64_t kNotifyOffset = 0x50;

    struct Wiring {
        EventLoop* loop = nullptr;
        const GuestMemory* memory = nullptr;
        std::unique_ptr<Interrupt> interrupt;
        FaultReporter on_fault;
    };
    /// The loop and the memory outlive the transport.
    [[nodiscard]] static Result<std::shared_ptr<MmioTransport>> create(
        std::shared_ptr<VirtioDevice> device, Wiring wiring);

    void read(uint64_t offset, std::span<std::byte> out) override;
    void write(uint64_t offset, std::span<const std::byte> data) override;

    /// One eventfd a queue. A kick by register write comes in through them too.
    [[nodiscard]] size_t queue_count() const { return notify_.size(); }
    [[nodiscard]] int notify_fd(size_t queue) const { return notify_[queue].get(); }
    [[nodiscard]] const std::string& name() const { return info_.name; }
    [[nodiscard]] EventLoop& loop() const { return *wiring_.loop; }
    /// Rules broken so far. Any thread.
    [[nodiscard]] uint64_t guest_faults() const { return fault_limit_.count(); }

    /// The machine is about to stop: a vCPU that waits for a reset goes on, and none will wait
    /// again, so that the loop's thread may join them. They must not enter the guest any more. Any
    /// thread.
    void release_vcpus();

    /// done runs on the loop when no request is in flight; nothing starts until resume(), which may
    /// come before it: then it may not run. Posted, so that an activation that the driver caused
    /// before goes first.
    void quiesce(std::function<void()> done);
    void resume();
    /// The guest has rung a doorbell and nobody has looked at the queue since: resume() will. Any
    /// thread, while it is quiet.
    [[nodiscard]] bool kicked() const;
    /// Registers, ring positions and the device's own state; only when quiet.
    void save(Encoder& out) const;
    /// Into a new transport of the same kind of device. It is quiet afterwards: resume() starts it.
    /// kInvalid or kCorrupt if the state doesn't fit; the transport is of no use then.
    [[nodiscard]] Status restore(Decoder& in);

  private:
    struct Registers {
        uint32_t status = 0;
        uint32_t device_features_sel = 0;
        uint32_t driver_features_sel = 0;
        uint32_t queue_sel = 0;
        uint64_t driver_features = 0;
        std::vector<QueueState> queues;
    };

    MmioTransport(std::shared_ptr<VirtioDevice> device, Wiring wiring);
    [[nodiscard]] Registers fresh_registers() const;
    [[nodiscard]] bool acceptable(uint64_t features) const;

    // On vCPU threads. What is returned as text is the rule that the guest broke, or nullptr.
    uint32_t read_register(uint64_t offset) DRUPE_EXCLUDES(mutex_);
    const char* write_register(uint64_t offset, uint32_t value) DRUPE_EXCLUDES(mutex_);
    const char* write_queue_register(uint64_t offset, uint32_t value) DRUPE_REQUIRES(mutex_);
    const char* write_status(uint32_t value) DRUPE_EXCLUDES(mutex_);
    const char* advance_status(uint32_t value, bool& start) DRUPE_REQUIRES(mutex_);
    void reset_and_wait() DRUPE_EXCLUDES(mutex_);

    // On the loop.
    [[nodiscard]] Result<Activation> make_activation(const Registers& registers);
    void activate();
    void start(Activation activation);
    void reset_device();
    void on_kick(size_t queue);
    void kick_all();

    void used_buffers() override;
    void config_changed() override;
    void needs_reset(const std::string& why) override;
    void guest_fault(const std::string& what) override;
    void notify_later(size_t queue) override;

    const std::shared_ptr<VirtioDevice> device_;
    const DeviceInfo info_;
    const uint64_t features_;
    const Wiring wiring_;
    std::vector<Fd> notify_;
    std::vector<EventLoop::Watch> watches_;
    LogLimit fault_limit_;

    mutable Mutex mutex_;
    Condition reset_done_;
    Registers registers_ DRUPE_GUARDED_BY(mutex_);
    bool started_ DRUPE_GUARDED_BY(mutex_) = false;    // activation was posted since the last reset
    bool resetting_ DRUPE_GUARDED_BY(mutex_) = false;  // a vCPU waits for the loop
    bool released_ DRUPE_GUARDED_BY(mutex_) = false;   // none waits any more
    std::atomic<uint32_t> interrupt_status_ = 0;
    std::atomic<uint32_t> generation_ = 0;
    std::atomic<bool> kicked_ = false;  // while it was quiet

    // The loop's.
    bool active_ = false;  // between the device's activate() and reset()
    bool broken_ = false;  // needs_reset() since then: no more kicks
    bool quiet_ = false;
};

}  // namespace drupe::virtio
