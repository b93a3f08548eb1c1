#include "monitor/idle_memory.h"

#include <malloc.h>
#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "vmm/memory/own_pages.h"

namespace drupe {
namespace {

constexpr std::chrono::milliseconds kPoll{1};
constexpr int kMaxPolls = 50;
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
    : parts_(std::move(parts)), memory_(std::move(memory)), pagemap_(std::move(pagemap)) {}

void IdleMemory::watch() {
    if (pagemap_.valid() && memory_.possible() && !timer_) look_after(kIdle);
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
    go_on();
    look_later();
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
}

void IdleMemory::fold() {
    if (const auto taken = take_memory(); !taken) {
        log(LogLevel::kDebug, "idle memory: {}", taken.error().message);
        go_on();
        return look_later();
    }
    state_ = State::kFolded;
    folded_at_ns_ = parts_.loop.now_ns();
    log(LogLevel::kDebug, "idle: {} pages differ, in {} bytes", memory_.count(), memory_.bytes());
    parts_.vsock.watch_for_work([this] { wake(); });
    if (!was_paused_) (void)parts_.vm.resume();
    ::malloc_trim(0);
    give_unused_stack_back();
}

/// With the vCPUs paused and every device quiet.
Status IdleMemory::take_memory() {
    TRY_ASSIGN(const auto pages, own_pages(parts_.vm.memory(), pagemap_.get(), kMaxPages));
    if (!pages) return Error{ErrorCode::kLimit, "it has too many pages of its own"};
    TRY(memory_.fold(*pages));
    auto taken = parts_.vm.withhold_memory();
    if (!taken) memory_.forget();
    return taken;
}

void IdleMemory::memory_wanted() {
    parts_.loop.post([this] {
        if (state_ != State::kFolded) return;
        const nanoseconds lasted(parts_.loop.now_ns() - folded_at_ns_);
        go_on();
        if (lasted < kWorthIt) return look_later();
        wait_ = kIdle;
        look_after(kShortWork);
    });
}

void IdleMemory::wake() {
    if (state_ == State::kAwake) return;
    go_on();
    wait_ = kIdle;
    look_after(kIdle);
}

/// From any state.
void IdleMemory::go_on() {
    if (state_ == State::kFolded) return_memory();
    ++attempt_;
    if (std::exchange(state_, State::kAwake) != State::kPausing) {
        for (const auto& transport : parts_.transports) {
            // Those of this loop at once, and all behind what quiesce() has posted.
            if (&transport->loop() == &parts_.loop) transport->resume();
            transport->loop().post([transport] { transport->resume(); });
        }
    }
    if (!was_paused_) (void)parts_.vm.resume();  // fails if it has stopped
}

void IdleMemory::return_memory() {
    // No vCPU can wait for this loop: it would need RAM to get that far.
    if (!was_paused_ && !parts_.vm.pause()) return;  // it has stopped
    const auto returned = parts_.vm.return_memory([this] { return memory_.unfold(); });
    if (!returned)
        return parts_.vm.request_stop({StopReason::kHostError, returned.error().message});
    // What KVM wanted to tell of the time while RAM was away, it tells once more. A guest without
    // its clock needn't hear.
    for (uint32_t cpu = 0; cpu < parts_.vm.config().vcpus; ++cpu)
        (void)parts_.vm.vcpu(cpu).kvm().kvmclock_ctrl();
}

}  // namespace drupe
