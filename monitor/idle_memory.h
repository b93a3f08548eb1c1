#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/fd.h"
#include "devices/virtio/mmio_transport.h"
#include "devices/virtio_vsock/virtio_vsock.h"
#include "vmm/snapshot/folded_memory.h"
#include "vmm/vm.h"

namespace drupe {

/// Takes RAM away while a machine has nothing to do: what differs from its snapshot's file is kept
/// (FoldedMemory). Whoever needs it next gets it back first: the guest, whose
/// CPUs go on waiting for interrupts until one of them needs RAM, a host end of a stream, or an
/// order, of which Machine tells by wake().
///
///     awake -> pausing -> quieting -> folded -> awake
///
/// If RAM can't be brought back it is lost, and the machine stops.
///
/// On the main loop's thread, but for memory_wanted().
class IdleMemory {
  public:
    /// A machine has nothing to do if its CPUs have used less of this time than a fiftieth.
    static constexpr std::chrono::seconds kIdle{2};
    /// A machine that isn't idle after all, or soon isn't any more, is looked at after twice the
    /// time, up to this.
    static constexpr std::chrono::seconds kLongestWait{16};
    /// What a guest does now and then, by a timer of its own, is soon done: in an instant, and once
    /// more within a second.
    static constexpr std::chrono::milliseconds kShortWork{1200};
    static constexpr std::chrono::seconds kWorthIt{1};
    /// One that has more pages of its own keeps its RAM: it would stand still for too long.
    static constexpr size_t kMaxPages = 4096;

    struct Parts {
        EventLoop& loop;
        Vm& vm;
        const std::vector<std::shared_ptr<virtio::MmioTransport>>& transports;
        vsock::VsockDevice& vsock;
        /// Nobody else has paused the machine for a moment, or made a device quiet.
        std::function<bool()> may_rest;
    };
    /// memory: of a machine that goes on from a snapshot. pagemap: this process's, or none: then
    /// RAM stays.
    /// Before the vCPUs run.
    IdleMemory(Parts parts, FoldedMemory memory, Fd pagemap);

    /// From now on.
    void watch();
    /// All is as if it had never been folded, and its devices work. Before anything else is done
    /// with the machine.
    void wake();
    /// VmHooks::on_memory_wanted.
    void memory_wanted();

  private:
    enum class State : uint8_t { kAwake, kPausing, kQuieting, kFolded, kLost };

    void look_after(std::chrono::nanoseconds delay);
    void look_later();
    void look();
    void await_pause(int polls);
    void quiesce();
    void fold();
    void not_now(const std::string& why);
    [[nodiscard]] bool go_on();
    [[nodiscard]] bool return_memory();

    const Parts parts_;
    FoldedMemory memory_;
    Fd pagemap_;
    bool possible_ = false;
    State state_ = State::kAwake;
    bool was_paused_ = false;  // by somebody else, for longer
    uint64_t attempt_ = 0;     // which devices that become quiet belong to
    size_t not_quiet_ = 0;
    uint64_t folded_at_ns_ = 0;
    uint64_t looked_at_ns_ = 0;
    std::chrono::nanoseconds used_before_{0};
    std::chrono::nanoseconds wait_ = kIdle;
    EventLoop::Watch timer_;
};

}  // namespace drupe
