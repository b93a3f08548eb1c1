#include "devices/virtio/mmio_transport.h"

#include <linux/virtio_mmio.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "devices/virtio/mmio_status.h"

namespace drupe::virtio {
namespace {

constexpr uint32_t kMagic = 0x74726976;   // "virt"
constexpr uint32_t kVendor = 0x45505244;  // "DRPE"
constexpr uint32_t kVersion = 2;
static_assert(MmioTransport::kNotifyOffset == VIRTIO_MMIO_QUEUE_NOTIFY);

uint32_t half(uint64_t value, uint32_t which) {
    return which > 1 ? 0 : static_cast<uint32_t>(value >> (32 * which));
}
void set_half(uint64_t& value, uint32_t which, uint32_t bits) {
    const uint64_t mask = uint64_t{0xffffffff} << (32 * which);
    value = (value & ~mask) | (uint64_t{bits} << (32 * which));
}

}  // namespace

MmioTransport::MmioTransport(std::shared_ptr<VirtioDevice> device, Wiring wiring)
    : device_(std::move(device)),
      info_(device_->info()),
      features_(info_.features | kVersion1 | kEventIdx | kIndirect),
      wiring_(std::move(wiring)),
      registers_(fresh_registers()) {}

Result<std::shared_ptr<MmioTransport>> MmioTransport::create(std::shared_ptr<VirtioDevice> device,
                                                             Wiring wiring) {
    DRUPE_CHECK(wiring.loop != nullptr && wiring.memory != nullptr && wiring.interrupt);
    std::shared_ptr<MmioTransport> transport(
        new MmioTransport(std::move(device), std::move(wiring)));
    for (size_t queue = 0; queue < transport->info_.queue_sizes.size(); ++queue) {
        TRY_ASSIGN(Fd notify, make_eventfd());
        transport->notify_.push_back(std::move(notify));
    }
    MmioTransport* const self = transport.get();
    for (size_t queue = 0; queue < self->notify_.size(); ++queue) {
        self->watches_.push_back(self->wiring_.loop->on_readable(
            self->notify_fd(queue), [self, queue] { self->on_kick(queue); }));
    }
    return transport;
}

MmioTransport::Registers MmioTransport::fresh_registers() const {
    Registers registers;
    for (const uint16_t size : info_.queue_sizes) registers.queues.push_back({.size = size});
    return registers;
}

bool MmioTransport::acceptable(uint64_t features) const {
    return (features & ~features_) == 0 && (features & kVersion1) != 0;
}

// ---- On vCPU threads --------------------------------------------------------------------------

void MmioTransport::read(uint64_t offset, std::span<std::byte> out) {
    std::ranges::fill(out, std::byte{0});
    if (offset >= VIRTIO_MMIO_CONFIG) {
        device_->read_config(static_cast<uint32_t>(offset - VIRTIO_MMIO_CONFIG), out);
        return;
    }
    if (out.size() != sizeof(uint32_t) || offset % sizeof(uint32_t) != 0) {
        guest_fault("register read with a wrong width or alignment");
        return;
    }
    const uint32_t value = read_register(offset);
    std::memcpy(out.data(), &value, sizeof value);
}

uint32_t MmioTransport::read_register(uint64_t offset) {
    switch (offset) {
        case VIRTIO_MMIO_MAGIC_VALUE:
            return kMagic;
        case VIRTIO_MMIO_VERSION:
            return kVersion;
        case VIRTIO_MMIO_DEVICE_ID:
            return info_.device_id;
        case VIRTIO_MMIO_VENDOR_ID:
            return kVendor;
        case VIRTIO_MMIO_INTERRUPT_STATUS:
            return interrupt_status_.load();
        case VIRTIO_MMIO_CONFIG_GENERATION:
            return generation_.load();
        // No shared memory: a region that doesn't exist has length and base -1 (4.2.2.1).
        case VIRTIO_MMIO_SHM_LEN_LOW:
        case VIRTIO_MMIO_SHM_LEN_HIGH:
        case VIRTIO_MMIO_SHM_BASE_LOW:
        case VIRTIO_MMIO_SHM_BASE_HIGH:
            return UINT32_MAX;
        default:
            break;
    }
    const MutexLock lock(mutex_);
    const uint32_t queue = registers_.queue_sel;
    const bool exists = queue < registers_.queues.size();
    switch (offset) {
        case VIRTIO_MMIO_DEVICE_FEATURES:
            return half(features_, registers_.device_features_sel);
        case VIRTIO_MMIO_QUEUE_NUM_MAX:
            return exists ? info_.queue_sizes[queue] : 0;
        case VIRTIO_MMIO_QUEUE_READY:
            return exists && registers_.queues[queue].ready ? 1 : 0;
        case VIRTIO_MMIO_STATUS:
            return registers_.status;
        default:
            return 0;  // write-only, legacy or nothing at all
    }
}

void MmioTransport::write(uint64_t offset, std::span<const std::byte> data) {
    if (offset >= VIRTIO_MMIO_CONFIG) {
        device_->write_config(static_cast<uint32_t>(offset - VIRTIO_MMIO_CONFIG), data);
        return;
    }
    if (data.size() != sizeof(uint32_t) || offset % sizeof(uint32_t) != 0) {
        guest_fault("register written with a wrong width or alignment");
        return;
    }
    uint32_t value = 0;
    std::memcpy(&value, data.data(), sizeof value);
    if (const char* const fault = write_register(offset, value)) guest_fault(fault);
}

const char* MmioTransport::write_register(uint64_t offset, uint32_t value) {
    switch (offset) {
        case VIRTIO_MMIO_QUEUE_NOTIFY:
            if (value >= notify_.size()) return "kick of a queue that doesn't exist";
            signal_eventfd(notify_fd(value));
            return nullptr;
        case VIRTIO_MMIO_INTERRUPT_ACK:
            interrupt_status_.fetch_and(~value);
            return nullptr;
        case VIRTIO_MMIO_STATUS:
            return write_status(value);
        default:
            break;
    }
    const MutexLock lock(mutex_);
    if (resetting_) return "register written during a reset";
    switch (offset) {
        case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
            registers_.device_features_sel = value;
            return nullptr;
        case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
            registers_.driver_features_sel = value;
            return nullptr;
        case VIRTIO_MMIO_DRIVER_FEATURES:
            if ((registers_.status & kFeaturesOk) != 0) return "features changed after FEATURES_OK";
            if (registers_.driver_features_sel <= 1)
                set_half(registers_.driver_features, registers_.driver_features_sel, value);
            return nullptr;
        case VIRTIO_MMIO_QUEUE_SEL:
            registers_.queue_sel = value;
            return nullptr;
        case VIRTIO_MMIO_SHM_SEL:
            return nullptr;
        default:
            return write_queue_register(offset, value);
    }
}

const char* MmioTransport::write_queue_register(uint64_t offset, uint32_t value) {
    if (registers_.queue_sel >= registers_.queues.size())
        return "register of a queue that doesn't exist written";
    if ((registers_.status & kDriverOk) != 0) return "queue changed after DRIVER_OK";
    QueueState& queue = registers_.queues[registers_.queue_sel];
    if (offset == VIRTIO_MMIO_QUEUE_READY) {
        queue.ready = (value & 1) != 0;
        return nullptr;
    }
    if (queue.ready) return "queue changed while it is ready";
    switch (offset) {
        case VIRTIO_MMIO_QUEUE_NUM:
            // A size that can't be is kept as 0, so that the activation refuses it by name.
            queue.size = value > UINT16_MAX ? uint16_t{0} : static_cast<uint16_t>(value);
            return nullptr;
        case VIRTIO_MMIO_QUEUE_DESC_LOW:
            set_half(queue.desc, 0, value);
            return nullptr;
        case VIRTIO_MMIO_QUEUE_DESC_HIGH:
            set_half(queue.desc, 1, value);
            return nullptr;
        case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
            set_half(queue.avail, 0, value);
            return nullptr;
        case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
            set_half(queue.avail, 1, value);
            return nullptr;
        case VIRTIO_MMIO_QUEUE_USED_LOW:
            set_half(queue.used, 0, value);
            return nullptr;
        case VIRTIO_MMIO_QUEUE_USED_HIGH:
            set_half(queue.used, 1, value);
            return nullptr;
        default:
            return "unknown register written";
    }
}

const char* MmioTransport::write_status(uint32_t value) {
    if (value == 0) {
        reset_and_wait();
        return nullptr;
    }
    bool start = false;
    const MutexLock lock(mutex_);
    if (resetting_) return "register written during a reset";
    const char* const fault = advance_status(value, start);
    if (start) {
        // Posted with the lock held: another vCPU's reset must not get in front of it.
        started_ = true;
        wiring_.loop->post([this] { activate(); });
    }
    return fault;
}

const char* MmioTransport::advance_status(uint32_t value, bool& start) {
    if ((value & ~(kDriversBits | kNeedsReset)) != 0) return "unknown status bits set";
    value &= kDriversBits;
    const uint32_t old = registers_.status & kDriversBits;
    if ((old & ~value) != 0) return "status bits cleared without a reset";
    if (!in_order(value)) return "status bits set out of order";

    const char* fault = nullptr;
    if ((value & ~old & kFeaturesOk) != 0 && !acceptable(registers_.driver_features)) {
        fault = "features accepted that weren't offered, or not VERSION_1";
        value &= ~(kFeaturesOk | kDriverOk);  // the driver reads back that we don't agree
    }
    start = (value & ~old & kDriverOk) != 0;
    registers_.status = value | (registers_.status & kNeedsReset);
    return fault;
}

void MmioTransport::reset_and_wait() {
    const MutexLock lock(mutex_);
    if (!started_) {
        registers_ = fresh_registers();
        interrupt_status_ = 0;
        return;
    }
    if (!std::exchange(resetting_, true)) wiring_.loop->post([this] { reset_device(); });
    while (resetting_ && !released_) reset_done_.wait(mutex_);
}

void MmioTransport::release_vcpus() {
    const MutexLock lock(mutex_);
    released_ = true;
    reset_done_.notify_all();
}

// ---- On the device's loop ---------------------------------------------------------------------

Result<Activation> MmioTransport::make_activation(const Registers& registers) {
    Activation activation;
    activation.features = registers.driver_features;
    activation.host = this;
    for (size_t i = 0; i < registers.queues.size(); ++i) {
        activation.queues.emplace_back();
        if (!registers.queues[i].ready) continue;
        auto queue = VirtQueue::create(*wiring_.memory, registers.queues[i],
                                       {.max_size = info_.queue_sizes[i],
                                        .event_idx = (registers.driver_features & kEventIdx) != 0,
                                        .indirect = (registers.driver_features & kIndirect) != 0});
        if (!queue) return std::move(queue).error().wrap("queue " + std::to_string(i));
        activation.queues.back() = std::move(queue).value();
    }
    return activation;
}

void MmioTransport::activate() {
    Registers registers;
    {
        const MutexLock lock(mutex_);
        registers = registers_;
    }
    Result<Activation> activation = make_activation(registers);
    if (!activation) {
        needs_reset(activation.error().message);
        return;
    }
    start(std::move(activation).value());
    // Kicks that came before are lost; buffers may have been there before DRIVER_OK too.
    if (!quiet_) kick_all();
}

void MmioTransport::start(Activation activation) {
    active_ = true;
    device_->activate(std::move(activation));
    if (quiet_) device_->quiesce([] {});
}

void MmioTransport::reset_device() {
    if (active_) device_->reset();
    active_ = false;
    broken_ = false;
    {
        const MutexLock lock(mutex_);
        registers_ = fresh_registers();
        interrupt_status_ = 0;
        started_ = false;
        resetting_ = false;
    }
    reset_done_.notify_all();
}

void MmioTransport::on_kick(size_t queue) {
    if (quiet_) kicked_ = true;
    drain_eventfd(notify_fd(queue));
    if (active_ && !broken_ && !quiet_) device_->on_notify(queue);
}

void MmioTransport::kick_all() {
    for (const Fd& notify : notify_) signal_eventfd(notify.get());
}

void MmioTransport::used_buffers() {
    interrupt_status_.fetch_or(VIRTIO_MMIO_INT_VRING);
    wiring_.interrupt->trigger();
}

void MmioTransport::config_changed() {
    ++generation_;
    {
        const MutexLock lock(mutex_);
        if ((registers_.status & kDriverOk) == 0) return;  // nobody to tell
    }
    interrupt_status_.fetch_or(VIRTIO_MMIO_INT_CONFIG);
    wiring_.interrupt->trigger();
}

void MmioTransport::needs_reset(const std::string& why) {
    broken_ = true;
    {
        const MutexLock lock(mutex_);
        registers_.status |= kNeedsReset;
    }
    config_changed();  // 2.1.2: a driver that is running is told by a configuration interrupt
    guest_fault(why + "; device stopped until it is reset");
}

void MmioTransport::guest_fault(const std::string& what) {
    if (fault_limit_.pass() && wiring_.on_fault) wiring_.on_fault(info_.name, what);
}

void MmioTransport::notify_later(size_t queue) {
    DRUPE_CHECK(queue < notify_.size());
    signal_eventfd(notify_fd(queue));
}

}  // namespace drupe::virtio
