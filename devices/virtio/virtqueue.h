#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/codec.h"
#include "base/result.h"
#include "vmm/memory/guest_memory.h"

namespace drupe::virtio {

/// Where a split queue lies and how far it has come (virtio 1.2, 2.7). Comes from the driver's
/// registers or a snapshot: untrusted until VirtQueue::create accepts it.
struct QueueState {
    uint16_t size = 0;  ///< A power of two, 1 to the device's maximum.
    bool ready = false;
    uint64_t desc = 0;   ///< Aligned to 16.
    uint64_t avail = 0;  ///< Aligned to 2.
    uint64_t used = 0;   ///< Aligned to 4.
    uint16_t next_avail = 0;
    uint16_t next_used = 0;
};

/// A buffer chain that the driver made available: validated and copied once, no longer than its
/// queue. Readable parts (driver to device) come before writable ones (2.7.4.2). Move-only: it must
/// go back through VirtQueue::complete(); one that is destroyed without is a bug of ours, and
/// checked.
class DescriptorChain {
  public:
    DescriptorChain(DescriptorChain&& other) noexcept;
    DescriptorChain& operator=(DescriptorChain&& other) noexcept;
    DescriptorChain(const DescriptorChain&) = delete;
    DescriptorChain& operator=(const DescriptorChain&) = delete;
    ~DescriptorChain();

    [[nodiscard]] std::span<const GuestSlice> readable() const;
    [[nodiscard]] std::span<const GuestSlice> writable() const;
    [[nodiscard]] uint64_t readable_size() const { return readable_size_; }
    [[nodiscard]] uint64_t writable_size() const { return writable_size_; }
    [[nodiscard]] uint16_t head() const { return head_; }

    /// Copies from the readable bytes at offset, across parts; returns how many were there.
    size_t read(uint64_t offset, std::span<std::byte> out) const;
    /// Copies into the writable bytes at offset, across parts; returns how many fitted.
    size_t write(uint64_t offset, std::span<const std::byte> data) const;

    /// Appends the readable (writable) bytes [offset, offset + size), as far as they exist, for a
    /// system call.
    void readable_iovecs(uint64_t offset, uint64_t size, std::vector<iovec>& out) const;
    void writable_iovecs(uint64_t offset, uint64_t size, std::vector<iovec>& out) const;

  private:
    friend class VirtQueue;
    DescriptorChain() = default;
    std::vector<GuestSlice> parts_;  // the first readable_count_ are readable
    size_t readable_count_ = 0;
    uint64_t readable_size_ = 0;
    uint64_t writable_size_ = 0;
    uint16_t head_ = 0;
    bool open_ = false;  // popped and not yet completed
};

/// The device's side of one split virtqueue with indirect descriptors and EVENT_IDX
/// (virtio 1.2, 2.7). Used by one thread, its device's loop. The memory must outlive it. Every
/// index the guest writes is read once, checked and bounded; the guest can make a queue useless,
/// never unsafe. Rings and buffers may overlap: that harms nobody but the guest.
class VirtQueue {
  public:
    VirtQueue(VirtQueue&&) noexcept = default;
    VirtQueue& operator=(VirtQueue&&) noexcept = default;
    VirtQueue(const VirtQueue&) = delete;
    VirtQueue& operator=(const VirtQueue&) = delete;
    ~VirtQueue() = default;

    struct Options {
        uint16_t max_size = 0;
        bool event_idx = false;  ///< VIRTIO_F_EVENT_IDX was negotiated.
        bool indirect = false;   ///< VIRTIO_F_INDIRECT_DESC was negotiated.
    };
    /// kInvalid if the size, an alignment or an address is wrong.
    [[nodiscard]] static Result<VirtQueue> create(const GuestMemory& memory,
                                                  const QueueState& state, const Options& options);

    /// The next available chain; nullopt when there is none. A malformed chain is given back to the
    /// guest with length 0, counted in faults(), and the next one is tried. An error means that the
    /// ring itself can't be trusted (2.7.13: the avail index is ahead by more than the size, a head
    /// outside of the table, more chains in flight than descriptors): the caller calls needs_reset.
    /// Every further pop() then fails too.
    [[nodiscard]] Result<std::optional<DescriptorChain>> pop();

    /// Gives a chain back: `written` bytes from the start of its writable part were filled
    /// (2.7.8.2).
    void complete(DescriptorChain&& chain, uint32_t written);

    /// After a batch of pop() and complete(): does the driver want an interrupt (2.7.7.2, 2.7.10)?
    /// Call once a batch, also when pop() gave nothing: it may have given malformed chains back.
    [[nodiscard]] bool needs_interrupt();

    /// Asks the driver to kick for the next chain, or not to. With enable, returns true if chains
    /// arrived meanwhile: go on popping then.
    bool enable_notifications();
    void disable_notifications();

    [[nodiscard]] QueueState state() const;
    [[nodiscard]] uint16_t size() const { return size_; }
    /// Chains popped and not completed.
    [[nodiscard]] uint16_t in_flight() const { return in_flight_; }
    /// Malformed chains so far, and what was wrong with the last.
    [[nodiscard]] uint64_t faults() const { return faults_; }
    [[nodiscard]] const std::string& last_fault() const { return last_fault_; }

  private:
    VirtQueue() = default;
    [[nodiscard]] uint16_t avail_index() const;
    [[nodiscard]] Result<uint16_t> next_head(uint16_t pending);
    /// Fills chain from the table; an empty string is success, else what is wrong with it.
    [[nodiscard]] std::string walk(uint16_t head, DescriptorChain& chain) const;
    void put_used(uint16_t head, uint32_t written);

    const GuestMemory* memory_ = nullptr;
    QueueState place_;
    GuestSlice desc_, avail_, used_;
    uint16_t size_ = 0;
    bool event_idx_ = false;
    bool indirect_ = false;
    bool broken_ = false;
    uint16_t next_avail_ = 0;
    uint16_t next_used_ = 0;
    uint16_t signalled_used_ = 0;  // next_used_ at the last needs_interrupt()
    uint16_t in_flight_ = 0;
    uint64_t faults_ = 0;
    std::string last_fault_;
    // Completed chains' parts, size_ at most: the next chains needn't allocate.
    std::vector<std::vector<GuestSlice>> spare_;
};

}  // namespace drupe::virtio
