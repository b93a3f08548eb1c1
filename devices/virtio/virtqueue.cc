#include "devices/virtio/virtqueue.h"

#define VIRTIO_RING_NO_LEGACY  // vring_init() is no C++
#include <linux/virtio_ring.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <utility>

#include "base/check.h"

namespace drupe::virtio {
namespace {

// Offsets in the rings (virtio 1.2, 2.7.6 and 2.7.8).
constexpr size_t kFlags = 0;
constexpr size_t kIndex = 2;
constexpr size_t kRing = 4;
constexpr size_t kAvailEntry = sizeof(uint16_t);
constexpr size_t kUsedEntry = sizeof(vring_used_elem);
constexpr uint16_t kMaxSize = 32768;

size_t used_event_offset(uint16_t size) {
    return kRing + size * kAvailEntry;
}
size_t avail_event_offset(uint16_t size) {
    return kRing + size * kUsedEntry;
}

uint16_t distance(uint16_t to, uint16_t from) {
    return static_cast<uint16_t>(to - from);
}

/// Calls use(part) for the pieces of parts that make up the bytes [offset, offset + size).
template <class Use>
void for_range(std::span<const GuestSlice> parts, uint64_t offset, uint64_t size, Use&& use) {
    for (const GuestSlice& part : parts) {
        if (size == 0) return;
        if (offset >= part.size()) {
            offset -= part.size();
            continue;
        }
        const size_t n = std::min<uint64_t>(size, part.size() - offset);
        use(*part.sub(offset, n));
        offset = 0;
        size -= n;
    }
}

}  // namespace

DescriptorChain::DescriptorChain(DescriptorChain&& other) noexcept
    : parts_(std::move(other.parts_)),
      readable_count_(std::exchange(other.readable_count_, 0)),
      readable_size_(std::exchange(other.readable_size_, 0)),
      writable_size_(std::exchange(other.writable_size_, 0)),
      head_(other.head_),
      open_(std::exchange(other.open_, false)) {
    other.parts_.clear();
}

DescriptorChain& DescriptorChain::operator=(DescriptorChain&& other) noexcept {
    if (this != &other) {
        DRUPE_CHECK(!open_);
        parts_ = std::exchange(other.parts_, {});
        readable_count_ = std::exchange(other.readable_count_, 0);
        readable_size_ = std::exchange(other.readable_size_, 0);
        writable_size_ = std::exchange(other.writable_size_, 0);
        head_ = other.head_;
        open_ = std::exchange(other.open_, false);
    }
    return *this;
}

DescriptorChain::~DescriptorChain() {
    DRUPE_CHECK(!open_);  // a chain that never goes back is a leak in the guest's queue
}

std::span<const GuestSlice> DescriptorChain::readable() const {
    return std::span(parts_).first(readable_count_);
}

std::span<const GuestSlice> DescriptorChain::writable() const {
    return std::span(parts_).subspan(readable_count_);
}

size_t DescriptorChain::read(uint64_t offset, std::span<std::byte> out) const {
    size_t done = 0;
    for_range(readable(), offset, out.size(),
              [&](GuestSlice part) { done += part.copy_to(out.subspan(done)); });
    return done;
}

size_t DescriptorChain::write(uint64_t offset, std::span<const std::byte> data) const {
    size_t done = 0;
    for_range(writable(), offset, data.size(),
              [&](GuestSlice part) { done += part.copy_from(data.subspan(done)); });
    return done;
}

void DescriptorChain::readable_iovecs(uint64_t offset, uint64_t size,
                                      std::vector<iovec>& out) const {
    for_range(readable(), offset, size, [&](GuestSlice part) { out.push_back(part.as_iovec()); });
}

void DescriptorChain::writable_iovecs(uint64_t offset, uint64_t size,
                                      std::vector<iovec>& out) const {
    for_range(writable(), offset, size, [&](GuestSlice part) { out.push_back(part.as_iovec()); });
}

Result<VirtQueue> VirtQueue::create(const GuestMemory& memory, const QueueState& state,
                                    const Options& options) {
    const auto invalid = [](std::string why) { return Error{ErrorCode::kInvalid, std::move(why)}; };
    const uint16_t size = state.size;
    if (!std::has_single_bit(size) || size > std::min(options.max_size, kMaxSize))
        return invalid("queue size " + std::to_string(size) + " is no power of two up to " +
                       std::to_string(options.max_size));
    if (state.desc % 16 != 0 || state.avail % 2 != 0 || state.used % 4 != 0)
        return invalid("a ring isn't aligned");
    const auto desc = memory.slice(state.desc, sizeof(vring_desc) * size);
    const auto avail = memory.slice(state.avail, used_event_offset(size) + sizeof(uint16_t));
    const auto used = memory.slice(state.used, avail_event_offset(size) + sizeof(uint16_t));
    if (!desc || !avail || !used) return invalid("a ring isn't in RAM");

    VirtQueue queue;
    queue.memory_ = &memory;
    queue.place_ = state;
    queue.desc_ = *desc;
    queue.avail_ = *avail;
    queue.used_ = *used;
    queue.size_ = size;
    queue.event_idx_ = options.event_idx;
    queue.indirect_ = options.indirect;
    queue.next_avail_ = state.next_avail;
    queue.next_used_ = state.next_used;
    queue.signalled_used_ = state.next_used;
    return queue;
}

uint16_t VirtQueue::avail_index() const {
    return avail_.load_acquire(kIndex);
}

Result<uint16_t> VirtQueue::next_head(uint16_t pending) {
    const auto broken = [this](std::string why) {
        broken_ = true;
        return Error{ErrorCode::kInvalid, std::move(why)};
    };
    if (pending > size_)
        return broken("avail index " + std::to_string(distance(next_avail_ + pending, 0)) +
                      " is more than the queue's size ahead");
    if (in_flight_ >= size_) return broken("more chains in flight than descriptors");
    const size_t slot = next_avail_ % size_;
    const auto head = avail_.load<uint16_t>(kRing + slot * kAvailEntry);
    if (head >= size_) return broken("head " + std::to_string(head) + " is outside of the table");
    return head;
}

// The one place that follows descriptors. Each is copied once and only the copy is looked at; at
// most size_ + 1 are read (the one more is an indirect descriptor, which holds no buffer).
std::string VirtQueue::walk(uint16_t head, DescriptorChain& chain) const {
    GuestSlice table = desc_;
    uint32_t table_size = size_;
    bool in_indirect = false;
    uint32_t index = head;
    for (uint32_t left = size_;;) {
        if (index >= table_size) return "next descriptor is outside of its table";
        const auto desc = table.load<vring_desc>(index * sizeof(vring_desc));

        if ((desc.flags & VRING_DESC_F_INDIRECT) != 0) {
            if (!indirect_) return "indirect descriptor without the feature";
            if (in_indirect) return "indirect descriptor in an indirect table";
            if ((desc.flags & VRING_DESC_F_NEXT) != 0) return "indirect descriptor with NEXT";
            table_size = desc.len / sizeof(vring_desc);
            if (desc.len % sizeof(vring_desc) != 0 || table_size == 0 || table_size > size_)
                return "indirect table of " + std::to_string(desc.len) + " bytes";
            const auto indirect_table = memory_->slice(desc.addr, desc.len);
            if (!indirect_table) return "indirect table outside of RAM";
            table = *indirect_table;
            in_indirect = true;
            index = 0;
            continue;
        }

        if (left == 0) return "chain longer than its queue";
        --left;
        const auto part = memory_->slice(desc.addr, desc.len);
        if (!part) return "buffer outside of RAM";
        if ((desc.flags & VRING_DESC_F_WRITE) != 0) {
            chain.writable_size_ += desc.len;
        } else {
            if (chain.writable_size_ != 0) return "readable buffer after a writable one";
            chain.readable_size_ += desc.len;
        }
        if (desc.len != 0) {
            chain.parts_.push_back(*part);
            if ((desc.flags & VRING_DESC_F_WRITE) == 0) ++chain.readable_count_;
        }
        if (chain.readable_size_ + chain.writable_size_ > UINT32_MAX)
            return "chain of more than 4 GiB";  // 2.7.4.2; used lengths are 32 bits
        if ((desc.flags & VRING_DESC_F_NEXT) == 0) return {};
        index = desc.next;
    }
}

Result<std::optional<DescriptorChain>> VirtQueue::pop() {
    if (broken_) return Error{ErrorCode::kInvalid, "the queue is broken"};
    const uint16_t pending = distance(avail_index(), next_avail_);
    // Only those that were there at the start: a guest can't hold the caller here with bad chains.
    for (uint16_t tried = 0; tried < pending; ++tried) {
        TRY_ASSIGN(const uint16_t head, next_head(pending));
        ++next_avail_;
        DescriptorChain chain;
        chain.head_ = head;
        if (!spare_.empty()) {
            chain.parts_ = std::move(spare_.back());
            spare_.pop_back();
        }
        std::string fault = walk(head, chain);
        if (fault.empty()) {
            chain.open_ = true;
            ++in_flight_;
            return std::optional(std::move(chain));
        }
        ++faults_;
        last_fault_ = std::move(fault);
        chain.parts_.clear();
        spare_.push_back(std::move(chain.parts_));
        put_used(head, 0);
    }
    return std::optional<DescriptorChain>();
}

void VirtQueue::put_used(uint16_t head, uint32_t written) {
    const vring_used_elem element{.id = head, .len = written};
    used_.store(kRing + (next_used_ % size_) * kUsedEntry, element);
    ++next_used_;
    used_.store_release(kIndex, next_used_);
}

void VirtQueue::complete(DescriptorChain&& chain, uint32_t written) {
    DRUPE_CHECK(chain.open_ && in_flight_ > 0);
    DRUPE_CHECK(written <= chain.writable_size_);
    DescriptorChain done = std::move(chain);
    done.open_ = false;
    --in_flight_;
    done.parts_.clear();
    spare_.push_back(std::move(done.parts_));
    put_used(done.head_, written);
}

bool VirtQueue::needs_interrupt() {
    const uint16_t before = std::exchange(signalled_used_, next_used_);
    const uint16_t completed = distance(next_used_, before);
    if (completed == 0) return false;
    // The used index must be visible before we look whether the driver waits for it.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!event_idx_) return (avail_.load_acquire(kFlags) & VRING_AVAIL_F_NO_INTERRUPT) == 0;
    const uint16_t event = avail_.load_acquire(used_event_offset(size_));
    return static_cast<uint16_t>(next_used_ - event - 1) < completed;
}

bool VirtQueue::enable_notifications() {
    if (event_idx_) {
        used_.store_release(avail_event_offset(size_), next_avail_);
    } else {
        used_.store_release(kFlags, 0);
    }
    // The driver must see that before we look whether it added something meanwhile.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return avail_index() != next_avail_;
}

void VirtQueue::disable_notifications() {
    // With EVENT_IDX the event already lies behind us: no kick until enable_notifications().
    if (!event_idx_) used_.store_release(kFlags, VRING_USED_F_NO_NOTIFY);
}

QueueState VirtQueue::state() const {
    QueueState state = place_;
    state.next_avail = next_avail_;
    state.next_used = next_used_;
    return state;
}

}  // namespace drupe::virtio
