#include "monitor/idle_memory.h"

#include <asm/kvm_para.h>
#include <malloc.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/log.h"
#include "vmm/memory/own_pages.h"

namespace drupe {
namespace {

constexpr std::chrono::milliseconds kPoll{1};
constexpr int kMaxPolls = 50;
constexpr std::chrono::milliseconds kQuietLimit{50};
constexpr int kIdleShare = 50;

using std::chrono::nanoseconds;

/// What this thread's stack has grown to once. On the main thread, whose stack has nothing below.
[[gnu::noinline]] void give_unused_stack_back() {
    constexpr uintptr_t kPage = 4096;
    constexpr uintptr_t kMost = 256 << 10;
    const auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
    const uintptr_t end = here / kPage * kPage - kPage;
    // ENOMEM says that it isn't as large.
    (void)::madvise(reinterpret_cast<void*>(end - kMost), kMost, MADV_DONTNEED);
}

}  // namespace

IdleMemory::IdleMemory(Parts parts, FoldedMemory memory, Fd pagemap)
    : parts_(std::move(parts)), memory_(std::move(memory)), pagemap_(std::move(pagemap)) {
    // Before Linux 5.16 (of which this attribute tells) KVM goes on writing steal time to pages
    // that RAM had before: other CPUs would believe that a TLB was flushed. Asked here: KVM answers
    // nobody about a vCPU that runs.
    Vm& vm = parts_.vm;
    possible_ = pagemap_.valid() && memory_.possible() &&
                (vm.config().vcpus == 1 || vm.vcpu(0).kvm().has_tsc_offset());
}

void IdleMemory::watch() {
    if (possible_ && !timer_) look_after(kIdle);
}

void IdleMemory::look_after(nanoseconds delay) {
    used_before_ = parts_.vm.cpu_time();
    looked_at_ns_ = parts_.loop.now_ns();
    timer_ = parts_.loop.after(delay, [this] { look(); });
}

void IdleMemory::look_later() {
    wait_ = std::min<nanoseconds>(2 * wait_, kLongestWait);
    look_after(wait_);
}

void IdleMemory::look() {
    const auto since =
        std::max<nanoseconds>(nanoseconds(parts_.loop.now_ns() - looked_at_ns_), kIdle);
    const bool busy = parts_.vm.cpu_time() - used_before_ > since / kIdleShare;
    if (busy || !parts_.may_rest()) return look_after(kIdle);
    const auto pages = own_pages(parts_.vm.memory(), pagemap_.get(), kMaxPages);
    if (pages && !pages.value()) return look_later();
    if (pages) memory_.prepare(*pages.value());
    was_paused_ = parts_.vm.paused();
    if (!was_paused_ && !parts_.vm.request_pause()) return;  // it has stopped
    state_ = State::kPausing;
    await_pause(0);
}

void IdleMemory::await_pause(int polls) {
    if (!parts_.vm.paused()) {
        if (parts_.vm.stopped()) return;
        if (polls < kMaxPolls) {
            timer_ = parts_.loop.after(kPoll, [this, polls] { await_pause(polls + 1); });
            return;
        }
    } else {
        const auto halted = parts_.vm.halted();
        if (was_paused_ || (halted && halted.value())) return quiesce();
    }
    not_now("its CPUs are busy");
}

void IdleMemory::quiesce() {
    state_ = State::kQuieting;
    not_quiet_ = parts_.transports.size();
    for (const auto& transport : parts_.transports) {
        transport->quiesce([this, attempt = attempt_] {
            parts_.loop.post([this, attempt] {
                if (attempt == attempt_ && --not_quiet_ == 0) fold();
            });
        });
    }
    // A request may take long, and the guest stands still.
    timer_ = parts_.loop.after(kQuietLimit, [this] { not_now("a device is busy"); });
}

void IdleMemory::fold() {
    const bool asked = std::ranges::any_of(
        parts_.transports, &virtio::MmioTransport::kicked,
        [](const auto& transport) -> const virtio::MmioTransport& { return *transport; });
    if (asked || !parts_.may_rest()) return not_now("there is something to do");
    const auto pages = own_pages(parts_.vm.memory(), pagemap_.get(), kMaxPages);
    if (!pages) return not_now(pages.error().message);
    if (!pages.value()) return not_now("it has too many pages of its own");
    if (const auto noted = memory_.fold(*pages.value()); !noted)
        return not_now(noted.error().message);
    state_ = State::kFolded;  // if it fails half-way, too
    folded_at_ns_ = parts_.loop.now_ns();
    if (const auto taken = parts_.vm.withhold_memory(); !taken)
        return not_now(taken.error().message);
    timer_.reset();
    log(LogLevel::kDebug, "idle: {} pages differ, in {} bytes", memory_.count(), memory_.bytes());
    parts_.vsock.watch_for_work([this] { wake(); });
    if (!was_paused_) (void)parts_.vm.resume();
    ::malloc_trim(0);
    give_unused_stack_back();
}

void IdleMemory::not_now(const std::string& why) {
    log(LogLevel::kDebug, "idle memory: {}", why);
    if (go_on()) look_later();
}

void IdleMemory::memory_wanted() {
    parts_.loop.post([this] {
        if (state_ != State::kFolded) return;
        const nanoseconds lasted(parts_.loop.now_ns() - folded_at_ns_);
        if (!go_on()) return;
        if (lasted < kWorthIt) return look_later();
        wait_ = kIdle;
        look_after(kShortWork);
    });
}

void IdleMemory::wake() {
    if (state_ == State::kAwake || state_ == State::kLost) return;
    if (!go_on()) return;
    wait_ = kIdle;
    look_after(kIdle);
}

/// From any state. False: RAM isn't there any more, the machine stops, and its devices stay quiet.
bool IdleMemory::go_on() {
    timer_.reset();
    ++attempt_;
    if (state_ == State::kFolded && !return_memory()) {
        state_ = State::kLost;
        return false;
    }
    if (std::exchange(state_, State::kAwake) != State::kPausing) {
        for (const auto& transport : parts_.transports) {
            // Those of this loop at once, and all behind what quiesce() has posted.
            if (&transport->loop() == &parts_.loop) transport->resume();
            transport->loop().post([transport] { transport->resume(); });
        }
    }
    if (!was_paused_) (void)parts_.vm.resume();  // fails if it has stopped
    return true;
}

bool IdleMemory::return_memory() {
    // No vCPU can wait for this loop: it would need RAM to get that far.
    if (!was_paused_ && !parts_.vm.pause()) return false;  // it has stopped
    const auto returned = parts_.vm.return_memory([this] { return memory_.unfold(); });
    if (!returned) {
        parts_.vm.request_stop({StopReason::kHostError, returned.error().message});
        return false;
    }
    // What KVM wanted to tell the guest while RAM was away, it tells once more: of the time, and of
    // pages that it has waited for (Documentation/virt/kvm/x86/msr.rst). Guests that asked for
    // neither needn't hear.
    for (uint32_t cpu = 0; cpu < parts_.vm.config().vcpus; ++cpu) {
        const KvmVcpu& vcpu = parts_.vm.vcpu(cpu).kvm();
        (void)vcpu.kvmclock_ctrl();
        (void)vcpu.set_msrs(std::array{kvm_msr_entry{MSR_KVM_ASYNC_PF_ACK, 0, 1}});
    }
    return true;
}

}  // namespace drupe
