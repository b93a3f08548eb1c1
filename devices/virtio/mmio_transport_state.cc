// The transport's pause and resume, save and restore.
#include <linux/virtio_mmio.h>
#include <poll.h>

#include <utility>
#include <vector>

#include "base/check.h"
#include "devices/virtio/mmio_status.h"
#include "devices/virtio/mmio_transport.h"

namespace drupe::virtio {
namespace {

constexpr uint32_t kStateVersion = 1;

}  // namespace

void MmioTransport::quiesce(std::function<void()> done) {
    wiring_.loop->post([this, done = std::move(done)] {
        quiet_ = true;
        if (active_) {
            device_->quiesce(done);
        } else {
            done();
        }
    });
}

void MmioTransport::resume() {
    if (!std::exchange(quiet_, false)) return;
    kicked_ = false;  // each queue is kicked below
    if (!active_) return;
    device_->resume();
    kick_all();
    // An edge may have been lost with the machine that this state comes from.
    if (interrupt_status_.load() != 0) wiring_.interrupt->trigger();
}

bool MmioTransport::kicked() const {
    std::vector<pollfd> doorbells;
    doorbells.reserve(notify_.size());
    for (const Fd& notify : notify_) doorbells.push_back({notify.get(), POLLIN, 0});
    // In this order: who takes a ring out of the eventfd has noted it before.
    const bool rung = ::poll(doorbells.data(), doorbells.size(), 0) > 0;
    return rung || kicked_;
}

void MmioTransport::save(Encoder& out) const {
    DRUPE_CHECK(quiet_);
    const MutexLock lock(mutex_);
    out.put(kStateVersion);
    out.put(registers_.status);
    out.put(registers_.device_features_sel);
    out.put(registers_.driver_features_sel);
    out.put(registers_.queue_sel);
    out.put(registers_.driver_features);
    out.put(interrupt_status_.load());
    out.put(generation_.load());
    out.put(static_cast<uint8_t>(active_));
    out.put(static_cast<uint32_t>(registers_.queues.size()));
    for (size_t i = 0; i < registers_.queues.size(); ++i) {
        const VirtQueue* const live = active_ ? device_->queue(i) : nullptr;
        const QueueState queue = live != nullptr ? live->state() : registers_.queues[i];
        out.put(queue.size);
        out.put(static_cast<uint8_t>(queue.ready));
        out.put(queue.desc);
        out.put(queue.avail);
        out.put(queue.used);
        out.put(queue.next_avail);
        out.put(queue.next_used);
    }
    Encoder device;
    device_->save(device);
    out.put_bytes(device.bytes());
}

Status MmioTransport::restore(Decoder& in) {
    const auto bad = [this](const char* why) {
        return Error{ErrorCode::kInvalid, "state of " + info_.name + ": " + why};
    };
    if (in.get<uint32_t>() != kStateVersion) return bad("unknown version");
    Registers registers;
    registers.status = in.get<uint32_t>();
    registers.device_features_sel = in.get<uint32_t>();
    registers.driver_features_sel = in.get<uint32_t>();
    registers.queue_sel = in.get<uint32_t>();
    registers.driver_features = in.get<uint64_t>();
    const auto interrupt_status = in.get<uint32_t>();
    const auto generation = in.get<uint32_t>();
    const auto active = in.get<uint8_t>();
    if (in.get<uint32_t>() != info_.queue_sizes.size()) return bad("another number of queues");
    for (size_t i = 0; i < info_.queue_sizes.size(); ++i) {
        QueueState queue;
        queue.size = in.get<uint16_t>();
        queue.ready = in.get<uint8_t>() != 0;
        queue.desc = in.get<uint64_t>();
        queue.avail = in.get<uint64_t>();
        queue.used = in.get<uint64_t>();
        queue.next_avail = in.get<uint16_t>();
        queue.next_used = in.get<uint16_t>();
        registers.queues.push_back(queue);
    }
    Decoder device_state(in.get_bytes());
    if (!in.ok() || active > 1) return bad("truncated or malformed");

    const uint32_t status = registers.status;
    const bool driver_ok = (status & kDriverOk) != 0;
    // Only a device that was started can be broken.
    if ((status & ~(kDriversBits | kNeedsReset)) != 0 || !in_order(status & kDriversBits) ||
        ((status & kNeedsReset) != 0 && !driver_ok) ||
        (interrupt_status & ~(VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG)) != 0)
        return bad("impossible status");
    if ((status & kFeaturesOk) != 0 && !acceptable(registers.driver_features))
        return bad("features that this device doesn't have");
    // Only rings that were refused leave a running driver with a device that never started.
    if ((active != 0) != driver_ok && (active != 0 || (status & kNeedsReset) == 0))
        return bad("active against its status");
    Activation activation;
    if (active != 0) {
        TRY_ASSIGN(activation, make_activation(registers));
    }
    TRY(device_->restore(device_state));

    quiet_ = true;
    interrupt_status_ = interrupt_status;
    generation_ = generation;
    broken_ = (status & kNeedsReset) != 0;
    {
        const MutexLock lock(mutex_);
        registers_ = std::move(registers);
        started_ = driver_ok;
    }
    if (active != 0) start(std::move(activation));
    return ok();
}

}  // namespace drupe::virtio
