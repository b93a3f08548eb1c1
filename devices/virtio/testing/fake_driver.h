#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "devices/virtio/device.h"
#include "devices/virtio/virtqueue.h"
#include "vmm/memory/guest_memory.h"

namespace drupe::virtio::testing {

/// One buffer of a chain as a driver describes it.
struct Buffer {
    uint64_t address = 0;
    uint32_t size = 0;
    bool writable = false;
};

/// What came back through the used ring.
struct Used {
    uint16_t head = 0;
    uint32_t length = 0;
};

/// The driver's side of one split queue, in guest memory, without a guest. Two faces: add(),
/// take_used() and kick_needed() are a driver by the book, stricter than a real one: a device that
/// breaks a rule (a head that wasn't given, twice, or a length beyond the writable part) aborts the
/// test. The raw functions below them do everything that a hostile driver could.
class FakeDriver {
  public:
    struct Options {
        uint64_t base = 0x10000;  ///< The rings, and buffers behind them, lie from here...
        uint64_t bytes = 0;       ///< ...for so many bytes; 0: to the end of the region.
        uint16_t size = 8;
        bool event_idx = false;
    };
    FakeDriver(const GuestMemory& memory, const Options& options);

    /// For VirtQueue::create or the registers.
    [[nodiscard]] QueueState state() const { return place_; }

    // Memory for buffers. Never freed.
    uint64_t allocate(uint64_t size, uint64_t alignment = 16);
    uint64_t put(std::string_view bytes);
    [[nodiscard]] std::string get(uint64_t address, size_t size) const;

    // By the book.
    /// Makes a chain of direct descriptors (of one indirect table) available; returns its head.
    /// There must be enough free descriptors.
    uint16_t add(std::span<const Buffer> buffers);
    uint16_t add_indirect(std::span<const Buffer> buffers);
    /// The next used chain, if any; its descriptors are free again.
    std::optional<Used> take_used();
    /// Must the driver kick for what it added since the last call (2.7.7.1, 2.7.10)?
    bool kick_needed();
    /// Asks for an interrupt at the next used chain, or for none.
    void want_interrupt(bool wanted);
    [[nodiscard]] size_t outstanding() const { return chains_.size(); }
    [[nodiscard]] size_t free_descriptors() const { return free_.size(); }

    // Hostile.
    void set_descriptor(uint16_t index, uint64_t address, uint32_t length, uint16_t flags,
                        uint16_t next);
    /// Writes a descriptor anywhere in RAM: an indirect table's.
    void set_descriptor_at(uint64_t address, uint64_t target, uint32_t length, uint16_t flags,
                           uint16_t next);
    /// Puts a head, whatever it is, into the avail ring.
    void publish(uint16_t head);
    void set_avail_index(uint16_t index);
    [[nodiscard]] uint16_t avail_index() const;
    [[nodiscard]] uint16_t used_index() const;
    /// The used ring's entry in the slot of an index.
    [[nodiscard]] Used used_entry(uint16_t index) const;
    /// Takes a used entry that add() knows nothing of.
    std::optional<Used> take_used_unchecked();

  private:
    struct Chain {
        std::vector<uint16_t> descriptors;
        uint64_t writable = 0;
    };
    uint16_t take_free();

    const GuestMemory& memory_;
    QueueState place_;
    bool event_idx_;
    uint64_t next_buffer_ = 0;
    uint64_t end_ = 0;
    std::vector<uint16_t> free_;
    std::map<uint16_t, Chain> chains_;              // outstanding, by head
    std::map<uint16_t, uint64_t> indirect_tables_;  // by head; reused
    uint16_t last_used_ = 0;
    uint16_t kicked_ = 0;  // avail index at the last kick_needed()
};

/// A DeviceHost that remembers.
class FakeHost final : public DeviceHost {
  public:
    void used_buffers() override { ++interrupts; }
    void config_changed() override { ++config_changes; }
    void needs_reset(const std::string& why) override { resets.push_back(why); }
    void guest_fault(const std::string& what) override { faults.push_back(what); }
    void notify_later(size_t queue) override { later.push_back(queue); }

    int interrupts = 0;
    int config_changes = 0;
    std::vector<std::string> resets;
    std::vector<std::string> faults;
    std::vector<size_t> later;
};

}  // namespace drupe::virtio::testing
