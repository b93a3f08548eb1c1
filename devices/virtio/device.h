#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/codec.h"
#include "base/result.h"
#include "devices/virtio/virtqueue.h"

namespace drupe::virtio {

/// What a device is, fixed for its life.
struct DeviceInfo {
    std::string name;                   ///< For events and logs: "blk0", "vsock".
    uint32_t device_id = 0;             ///< virtio 1.2, section 5.
    uint64_t features = 0;              ///< Offered, beyond those that the transport adds itself.
    std::vector<uint16_t> queue_sizes;  ///< Largest size of each queue; powers of two.
};

/// What a device tells its transport (and through it the guest and the owner). Callable from the
/// device's loop.
class DeviceHost {
  public:
    virtual ~DeviceHost() = default;
    /// Used buffers are there: sets ISR bit 0 and interrupts. Ask VirtQueue::needs_interrupt()
    /// first.
    virtual void used_buffers() = 0;
    /// The configuration space changed: bumps ConfigGeneration, sets ISR bit 1 and interrupts.
    virtual void config_changed() = 0;
    /// A ring can't be trusted any more: sets DEVICE_NEEDS_RESET, interrupts, and tells the owner
    /// why.
    virtual void needs_reset(const std::string& why) = 0;
    /// The guest broke a rule in a way that a device survives; counted, and rate-limited to the
    /// owner.
    virtual void guest_fault(const std::string& what) = 0;
    /// Calls on_notify(queue) again soon, after what else the loop has to do. For a device that
    /// stops in a full queue, so that a guest can't keep its loop busy for ever.
    virtual void notify_later(size_t queue) = 0;
};

/// What a device gets when the driver sets DRIVER_OK.
struct Activation {
    uint64_t features = 0;  ///< Negotiated.
    std::vector<std::optional<VirtQueue>>
        queues;                  ///< By index; nullopt where the driver didn't enable it.
    DeviceHost* host = nullptr;  ///< Outlives the activation.
};

/// A virtio device behind any transport. All calls come on the device's own loop, one at a time,
/// except read_config and write_config, which come on vCPU threads and must lock what they share.
///
///            activate            quiesce(done)
///     new ------------> active ----------------> quiet
///      ^                  | ^       resume         | |
///      |                  | +----------------------+ |
///      +---- reset -------+--------- reset ----------+
///
/// save() and restore() only when new or quiet; restore() keeps the state, and activate() follows
/// if the driver was running. Queues and negotiated features are the transport's to save: it asks
/// queue() for the rings' positions, and gives queues that go on there to activate(). quiesce()
/// calls done when no request is in flight, or never if resume() comes before; reset() may come
/// with requests in flight and returns when none can touch guest memory any more.
class VirtioDevice {
  public:
    virtual ~VirtioDevice() = default;

    [[nodiscard]] virtual const DeviceInfo& info() const = 0;

    /// Device-specific configuration. Bytes past its end read as zero; writes that aren't allowed
    /// are dropped.
    virtual void read_config(uint32_t offset, std::span<std::byte> out) = 0;
    virtual void write_config(uint32_t offset, std::span<const std::byte> data) = 0;

    virtual void activate(Activation activation) = 0;
    /// The driver kicked a queue, or may have: an extra call is harmless.
    virtual void on_notify(size_t queue) = 0;
    virtual void reset() = 0;
    /// The queue that activate() gave, or nullptr: what the transport saves. Only when quiet.
    [[nodiscard]] virtual const VirtQueue* queue(size_t index) const = 0;

    virtual void quiesce(std::function<void()> done) = 0;
    virtual void resume() = 0;
    virtual void save(Encoder& out) const = 0;
    /// The state is untrusted: everything is checked before anything is changed.
    [[nodiscard]] virtual Status restore(Decoder& in) = 0;
};

}  // namespace drupe::virtio
