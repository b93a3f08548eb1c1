#include "devices/virtio/testing/fake_driver.h"

#define VIRTIO_RING_NO_LEGACY
#include <linux/virtio_ring.h>

#include <atomic>

#include "base/check.h"

namespace drupe::virtio::testing {
namespace {

uint64_t align_up(uint64_t value, uint64_t alignment) {
    return (value + alignment - 1) / alignment * alignment;
}

}  // namespace

FakeDriver::FakeDriver(const GuestMemory& memory, const Options& options)
    : memory_(memory), event_idx_(options.event_idx) {
    const uint16_t size = options.size;
    place_.size = size;
    place_.ready = true;
    place_.desc = align_up(options.base, 16);
    place_.avail = place_.desc + sizeof(vring_desc) * size;
    place_.used = align_up(place_.avail + 6 + 2UL * size, 4);
    next_buffer_ = align_up(place_.used + 6 + sizeof(vring_used_elem) * size, 64);
    if (options.bytes != 0) {
        end_ = options.base + options.bytes;
    } else {
        for (const MemoryRegion& region : memory.regions()) {
            if (options.base - region.guest_address < region.size)
                end_ = region.guest_address + region.size;
        }
    }
    DRUPE_CHECK(next_buffer_ <= end_);
    memory.slice(place_.desc, next_buffer_ - place_.desc)->fill_zero();
    for (uint16_t i = size; i > 0; --i) free_.push_back(static_cast<uint16_t>(i - 1));
}

uint64_t FakeDriver::allocate(uint64_t size, uint64_t alignment) {
    const uint64_t address = align_up(next_buffer_, alignment);
    DRUPE_CHECK(address + size <= end_);
    next_buffer_ = address + size;
    return address;
}

uint64_t FakeDriver::put(std::string_view bytes) {
    const uint64_t address = allocate(bytes.size());
    memory_.slice(address, bytes.size())->copy_from(std::as_bytes(std::span(bytes)));
    return address;
}

std::string FakeDriver::get(uint64_t address, size_t size) const {
    std::string bytes(size, '\0');
    memory_.slice(address, size)->copy_to(std::as_writable_bytes(std::span(bytes)));
    return bytes;
}

uint16_t FakeDriver::take_free() {
    DRUPE_CHECK(!free_.empty());
    const uint16_t index = free_.back();
    free_.pop_back();
    return index;
}

uint16_t FakeDriver::add(std::span<const Buffer> buffers) {
    DRUPE_CHECK(!buffers.empty() && buffers.size() <= free_.size());
    Chain chain;
    for (size_t i = 0; i < buffers.size(); ++i) chain.descriptors.push_back(take_free());
    for (size_t i = 0; i < buffers.size(); ++i) {
        const bool last = i + 1 == buffers.size();
        const int flags =
            (last ? 0 : VRING_DESC_F_NEXT) | (buffers[i].writable ? VRING_DESC_F_WRITE : 0);
        set_descriptor(chain.descriptors[i], buffers[i].address, buffers[i].size,
                       static_cast<uint16_t>(flags), last ? 0 : chain.descriptors[i + 1]);
        if (buffers[i].writable) chain.writable += buffers[i].size;
    }
    const uint16_t head = chain.descriptors.front();
    chains_[head] = std::move(chain);
    publish(head);
    return head;
}

uint16_t FakeDriver::add_indirect(std::span<const Buffer> buffers) {
    DRUPE_CHECK(!buffers.empty() && buffers.size() <= place_.size);
    Chain chain;
    const uint16_t head = take_free();
    chain.descriptors.push_back(head);
    uint64_t& table = indirect_tables_[head];
    if (table == 0) table = allocate(sizeof(vring_desc) * place_.size);
    for (size_t i = 0; i < buffers.size(); ++i) {
        const bool last = i + 1 == buffers.size();
        const int flags =
            (last ? 0 : VRING_DESC_F_NEXT) | (buffers[i].writable ? VRING_DESC_F_WRITE : 0);
        set_descriptor_at(table + i * sizeof(vring_desc), buffers[i].address, buffers[i].size,
                          static_cast<uint16_t>(flags), static_cast<uint16_t>(last ? 0 : i + 1));
        if (buffers[i].writable) chain.writable += buffers[i].size;
    }
    set_descriptor(head, table, static_cast<uint32_t>(buffers.size() * sizeof(vring_desc)),
                   VRING_DESC_F_INDIRECT, 0);
    chains_[head] = std::move(chain);
    publish(head);
    return head;
}

std::optional<Used> FakeDriver::take_used() {
    const uint16_t ahead = static_cast<uint16_t>(used_index() - last_used_);
    DRUPE_CHECK(ahead <= chains_.size());  // no more came back than was given
    const std::optional<Used> used = take_used_unchecked();
    if (!used) return used;
    const auto chain = chains_.find(used->head);
    DRUPE_CHECK(chain != chains_.end());  // each head once
    DRUPE_CHECK(used->length <= chain->second.writable);
    free_.insert(free_.end(), chain->second.descriptors.begin(), chain->second.descriptors.end());
    chains_.erase(chain);
    return used;
}

bool FakeDriver::kick_needed() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const uint16_t now = avail_index();
    const uint16_t before = std::exchange(kicked_, now);
    if (now == before) return false;
    if (event_idx_) {
        const auto event =
            *memory_.read<uint16_t>(place_.used + 4 + sizeof(vring_used_elem) * place_.size);
        return static_cast<uint16_t>(now - event - 1) < static_cast<uint16_t>(now - before);
    }
    return (*memory_.read<uint16_t>(place_.used) & VRING_USED_F_NO_NOTIFY) == 0;
}

void FakeDriver::want_interrupt(bool wanted) {
    if (event_idx_) {
        const uint16_t event = static_cast<uint16_t>(wanted ? last_used_ : last_used_ - 1);
        DRUPE_CHECK(memory_.write<uint16_t>(place_.avail + 4 + 2UL * place_.size, event));
    } else {
        DRUPE_CHECK(memory_.write<uint16_t>(place_.avail, wanted ? 0 : VRING_AVAIL_F_NO_INTERRUPT));
    }
}

void FakeDriver::set_descriptor(uint16_t index, uint64_t address, uint32_t length, uint16_t flags,
                                uint16_t next) {
    set_descriptor_at(place_.desc + index * sizeof(vring_desc), address, length, flags, next);
}

void FakeDriver::set_descriptor_at(uint64_t address, uint64_t target, uint32_t length,
                                   uint16_t flags, uint16_t next) {
    const vring_desc desc{.addr = target, .len = length, .flags = flags, .next = next};
    DRUPE_CHECK(memory_.write(address, desc));
}

void FakeDriver::publish(uint16_t head) {
    const uint16_t index = avail_index();
    DRUPE_CHECK(memory_.write<uint16_t>(place_.avail + 4 + 2UL * (index % place_.size), head));
    set_avail_index(static_cast<uint16_t>(index + 1));
}

void FakeDriver::set_avail_index(uint16_t index) {
    memory_.slice(place_.avail, 4)->store_release(2, index);
}

uint16_t FakeDriver::avail_index() const {
    return memory_.slice(place_.avail, 4)->load_acquire(2);
}

uint16_t FakeDriver::used_index() const {
    return memory_.slice(place_.used, 4)->load_acquire(2);
}

Used FakeDriver::used_entry(uint16_t index) const {
    const auto element = *memory_.read<vring_used_elem>(
        place_.used + 4 + sizeof(vring_used_elem) * (index % place_.size));
    DRUPE_CHECK(element.id < place_.size);
    return Used{static_cast<uint16_t>(element.id), element.len};
}

std::optional<Used> FakeDriver::take_used_unchecked() {
    if (used_index() == last_used_) return std::nullopt;
    return used_entry(last_used_++);
}

}  // namespace drupe::virtio::testing
