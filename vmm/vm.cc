#include "vmm/vm.h"

#include <fmt/core.h>
#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <ctime>
#include <initializer_list>
#include <system_error>
#include <utility>

#include "vmm/arch/x86_64/boot_state.h"
#include "vmm/arch/x86_64/cpuid.h"
#include "vmm/irq.h"
#include "vmm/power.h"

namespace drupe {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint16_t kKeyboardPort = 0x64;
constexpr uint16_t kChipsetResetPort = 0xcf9;

uint64_t to_ns(const timespec& time) {
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

uint64_t monotonic_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return to_ns(now);
}

/// A vCPU's thread takes the kick and what is about itself; the process's other signals are for the
/// main thread.
void set_signal_mask() {
    sigset_t blocked;
    ::sigfillset(&blocked);
    for (const int signal :
         {Vcpu::kick_signal(), SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) {
        ::sigdelset(&blocked, signal);
    }
    ::pthread_sigmask(SIG_SETMASK, &blocked, nullptr);
}

Status check(const VmConfig& config) {
    if (config.memory_bytes < Vm::kMinMemory || config.memory_bytes > Vm::kMaxMemory ||
        config.memory_bytes % kPage != 0) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("a machine can't have {} bytes of memory: whole pages from {} to "
                                 "{} bytes",
                                 config.memory_bytes, Vm::kMinMemory, Vm::kMaxMemory)};
    }
    if (config.vcpus == 0 || config.vcpus > Vm::kMaxVcpus) {
        return Error{ErrorCode::kInvalid, fmt::format("a machine can't have {} vCPUs: 1 to {}",
                                                      config.vcpus, Vm::kMaxVcpus)};
    }
    return ok();
}

}  // namespace

Vm::Vm(const VmConfig& config, KvmVm kvm, GuestMemory memory)
    : config_(config), memory_(std::move(memory)), kvm_(std::move(kvm)) {}

Result<std::unique_ptr<Vm>> Vm::create(const Kvm& kvm, const VmConfig& config) {
    TRY(check(config));
    TRY(Vcpu::install_kick_handler());
    TRY_ASSIGN(KvmVm machine, kvm.create_vm());
    TRY(machine.set_identity_map_addr(arch::kIdentityMap));
    TRY(machine.set_tss_addr(arch::kTss));
    TRY(machine.create_irqchip());
    TRY(machine.create_pit2());

    TRY_ASSIGN(GuestMemory memory, GuestMemory::create(arch::ram_ranges(config.memory_bytes)));
    uint32_t slot = 0;
    for (const MemoryRegion& region : memory.regions()) {
        TRY(machine.set_memory_region(slot++, region));
    }

    std::unique_ptr<Vm> vm(new Vm(config, std::move(machine), std::move(memory)));
    TRY(vm->attach_power());
    TRY(vm->create_vcpus(kvm));
    return vm;
}

Status Vm::create_vcpus(const Kvm& kvm) {
    TRY_ASSIGN(const size_t mmap_size, kvm.vcpu_mmap_size());
    TRY_ASSIGN(const std::vector<kvm_cpuid_entry2> supported, kvm.supported_cpuid());
    TRY_ASSIGN(msr_indices_, kvm.msr_indices());
    const bool statistics = config_.statistics && kvm.capability(KVM_CAP_BINARY_STATS_FD) > 0;
    arch::CpuidOptions options;
    options.vcpus = config_.vcpus;
    options.tsc_deadline = kvm.capability(KVM_CAP_TSC_DEADLINE_TIMER) > 0;
    for (uint32_t index = 0; index < config_.vcpus; ++index) {
        options.vcpu = index;
        TRY_ASSIGN(KvmVcpu vcpu, kvm_.create_vcpu(index, mmap_size));
        auto cpuid = arch::baseline_cpuid(supported, options);
        TRY(vcpu.set_cpuid(cpuid));
        TRY(arch::set_initial_state(vcpu, arch::supported_xcr0(cpuid)));
        if (statistics) {
            TRY_ASSIGN(KvmStats stats, vcpu.open_stats());
            stats_.push_back(std::move(stats));
        }
        VcpuThread& thread = threads_.emplace_back();
        thread.vcpu = std::make_unique<Vcpu>(std::move(vcpu), mmio_, pio_);
        thread.cpuid = std::move(cpuid);
    }
    return ok();
}

Status Vm::attach_power() {
    const auto stop = [this](const Stop& reason) { request_stop(reason); };
    TRY(mmio_.attach(arch::kPowerRegister, kPage, make_power_register(stop)));
    TRY(mmio_.attach(arch::kPanicRegister, kPage, make_panic_register(stop)));
    TRY(pio_.attach(kKeyboardPort, 1, make_keyboard_reset_port(stop)));
    return pio_.attach(kChipsetResetPort, 1, make_chipset_reset_port(stop));
}

Vm::~Vm() {
    request_stop({StopReason::kRequested, "the machine is taken down"});
    join();
}

Result<MmioSlot> Vm::allocate_slot() {
    const size_t index = slots_.size();
    if (index == arch::kMmioSlots)
        return Error{ErrorCode::kLimit,
                     fmt::format("a machine has at most {} devices", arch::kMmioSlots)};
    const MmioSlot slot{static_cast<uint32_t>(index),
                        arch::kMmioWindow + index * arch::kMmioSlotSize, arch::kSlotPins[index]};
    slots_.push_back(slot);
    return slot;
}

Status Vm::attach_mmio(uint64_t address, uint64_t size, std::shared_ptr<BusDevice> device) {
    // Where RAM is, KVM never asks us.
    if (address < arch::kGapStart || address >= arch::kGapEnd || size > arch::kGapEnd - address)
        return Error{ErrorCode::kInvalid, fmt::format("no device can be at {:#x}", address)};
    return mmio_.attach(address, size, std::move(device));
}

Status Vm::attach_pio(uint16_t port, uint16_t size, std::shared_ptr<BusDevice> device) {
    return pio_.attach(port, size, std::move(device));
}

Status Vm::add_doorbell(const Doorbell& doorbell, int eventfd) {
    return kvm_.ioeventfd(doorbell.address, doorbell.size, doorbell.value, doorbell.port, eventfd);
}

Result<std::unique_ptr<Interrupt>> Vm::make_interrupt(uint32_t gsi) {
    return make_irqfd_interrupt(kvm_, gsi);
}

Status Vm::pulse_line(uint32_t gsi) const {
    TRY(kvm_.irq_line(gsi, true));
    return kvm_.irq_line(gsi, false);
}

Status Vm::load(const BootConfig& boot) {
    if (loaded_) return Error{ErrorCode::kConflict, "the machine is loaded already"};
    loaded_ = true;  // even if it fails: RAM isn't fresh any more
    Hardware hardware;
    hardware.vcpus = config_.vcpus;
    for (const MmioSlot& slot : slots_)
        hardware.virtio_mmio.push_back({slot.address, arch::kMmioSlotSize, slot.gsi});
    TRY_ASSIGN(const BootEntry entry, load_boot(boot, hardware, memory_));
    TRY(arch::write_boot_tables(memory_));
    return arch::set_boot_registers(threads_.front().vcpu->kvm(), entry.protocol, entry.address);
}

Status Vm::begin_restore() {
    const MutexLock lock(mutex_);
    if (loaded_ || state_ != State::kNew)
        return Error{ErrorCode::kConflict, "the machine was loaded or started already"};
    loaded_ = true;
    return ok();
}

Status Vm::set_cpuid(uint32_t index, std::vector<kvm_cpuid_entry2> leaves) {
    TRY(threads_[index].vcpu->kvm().set_cpuid(leaves));
    threads_[index].cpuid = std::move(leaves);
    return ok();
}

Status Vm::log_dirty_pages(bool on) {
    uint32_t slot = 0;
    for (const MemoryRegion& region : memory_.regions()) {
        TRY(kvm_.set_memory_region(slot++, region, on));
    }
    return ok();
}

Result<PageBitmaps> Vm::take_dirty_pages() {
    PageBitmaps bitmaps;
    for (const MemoryRegion& region : memory_.regions()) {
        const auto slot = static_cast<uint32_t>(bitmaps.size());
        TRY_ASSIGN(std::vector<uint64_t> bitmap, kvm_.dirty_log(slot, region.size));
        bitmaps.push_back(std::move(bitmap));
    }
    return bitmaps;
}

Status Vm::start(VmHooks hooks) {
    std::optional<std::system_error> failure;
    {
        // Held until all threads exist: each waits for it before it runs.
        const MutexLock lock(mutex_);
        if (state_ != State::kNew)
            return Error{ErrorCode::kConflict, "the machine was started or stopped already"};
        hooks_ = std::move(hooks);
        state_ = State::kRunning;
        try {
            for (uint32_t index = 0; index < threads_.size(); ++index)
                threads_[index].thread = std::thread([this, index] { vcpu_main(index); });
        } catch (const std::system_error& error) {
            failure = error;
        }
    }
    if (!failure) return ok();
    const Error error = os_error("make a vCPU's thread", failure->code().value());
    request_stop({StopReason::kHostError, error.message});
    return error;
}

void Vm::vcpu_main(uint32_t index) {
    ::pthread_setname_np(::pthread_self(), fmt::format("vcpu{}", index).c_str());
    set_signal_mask();
    run_vcpu(index);
    const MutexLock lock(mutex_);
    threads_[index].ended = true;
    changed_.notify_all();
}

void Vm::run_vcpu(uint32_t index) {
    if (hooks_.on_vcpu_thread) {
        if (const Status status = hooks_.on_vcpu_thread(index); !status) {
            request_stop({StopReason::kHostError, fmt::format("set up vcpu{}'s thread: {}", index,
                                                              status.error().message)});
            return;
        }
    }
    while (may_run(index)) {
        if (index == 0 && first_run_ns_ == 0) first_run_ns_ = monotonic_ns();
        auto end = threads_[index].vcpu->run();
        if (const Stop* const stop = std::get_if<Stop>(&end)) request_stop(*stop);
        if (std::holds_alternative<Vcpu::NoMemory>(end)) await_memory(index);
    }
}

/// As good as paused until the memory is there again, or the machine has stopped.
void Vm::await_memory(uint32_t index) {
    bool withheld = false;
    bool first = false;
    {
        const MutexLock lock(mutex_);
        withheld = memory_withheld_;
        first = withheld && !std::exchange(memory_wanted_, true);
    }
    if (!withheld) return request_stop(threads_[index].vcpu->memory_error());
    if (first) hooks_.on_memory_wanted();
    const MutexLock lock(mutex_);
    threads_[index].parked = true;
    changed_.notify_all();
    while (memory_withheld_ && state_ != State::kStopped) changed_.wait(mutex_);
    threads_[index].parked = false;
}

/// Waits while the machine is paused; false when it has stopped.
bool Vm::may_run(uint32_t index) {
    const MutexLock lock(mutex_);
    if (state_ == State::kPausing) {
        threads_[index].parked = true;
        changed_.notify_all();
        while (state_ == State::kPausing) changed_.wait(mutex_);
        threads_[index].parked = false;
    }
    return state_ == State::kRunning;
}

/// Under mutex_, after the state has changed: each vCPU looks at it when its run() returns.
void Vm::kick_all() {
    for (VcpuThread& thread : threads_) {
        if (thread.ended || !thread.thread.joinable()) continue;
        thread.vcpu->kick();
        ::pthread_kill(thread.thread.native_handle(), Vcpu::kick_signal());
    }
}

bool Vm::all_parked() const {
    return std::all_of(threads_.begin(), threads_.end(),
                       [](const VcpuThread& thread) { return thread.parked; });
}

Status Vm::request_pause() {
    const MutexLock lock(mutex_);
    if (state_ != State::kRunning && state_ != State::kPausing)
        return Error{ErrorCode::kConflict, "the machine doesn't run"};
    state_ = State::kPausing;
    kick_all();
    return ok();
}

bool Vm::paused() const {
    const MutexLock lock(mutex_);
    return state_ == State::kPausing && all_parked();
}

Status Vm::pause() {
    TRY(request_pause());
    const MutexLock lock(mutex_);
    while (state_ == State::kPausing && !all_parked()) changed_.wait(mutex_);
    if (state_ == State::kStopped)
        return Error{ErrorCode::kConflict, "the machine stopped before it was paused"};
    return ok();
}

Status Vm::resume() {
    const MutexLock lock(mutex_);
    if (state_ != State::kPausing) return Error{ErrorCode::kConflict, "the machine isn't paused"};
    state_ = State::kRunning;
    changed_.notify_all();
    return ok();
}

Status Vm::withhold_memory() {
    const MutexLock lock(mutex_);
    if (state_ != State::kPausing || !all_parked())
        return Error{ErrorCode::kConflict, "the machine isn't paused"};
    TRY(memory_.take_away());
    memory_withheld_ = true;
    memory_wanted_ = false;
    return ok();
}

Status Vm::return_memory(const std::function<Status()>& refill) {
    const MutexLock lock(mutex_);
    if (state_ != State::kPausing || !all_parked())
        return Error{ErrorCode::kConflict, "the machine isn't paused"};
    TRY(memory_.give_back());
    TRY(refill());
    memory_withheld_ = false;
    changed_.notify_all();
    return ok();
}

Result<bool> Vm::halted() const {
    for (const VcpuThread& thread : threads_) {
        TRY_ASSIGN(const kvm_mp_state state, thread.vcpu->kvm().mp_state());
        if (state.mp_state == KVM_MP_STATE_RUNNABLE) return false;
    }
    return true;
}

std::chrono::nanoseconds Vm::cpu_time() {
    uint64_t total = 0;
    for (VcpuThread& thread : threads_) {
        clockid_t clock{};
        timespec used{};
        // Its handle is valid until it is joined; its clock ends with it.
        if (!thread.thread.joinable() ||
            ::pthread_getcpuclockid(thread.thread.native_handle(), &clock) != 0 ||
            ::clock_gettime(clock, &used) != 0)
            continue;
        total += to_ns(used);
    }
    return std::chrono::nanoseconds(total);
}

void Vm::request_stop(const Stop& stop) {
    {
        const MutexLock lock(mutex_);
        if (state_ == State::kStopped) return;
        state_ = State::kStopped;
        stop_ = stop;
        kick_all();
        changed_.notify_all();
    }
    if (hooks_.on_stop) hooks_.on_stop(stop);
}

std::optional<Stop> Vm::stopped() const {
    const MutexLock lock(mutex_);
    return stop_;
}

void Vm::join() {
    {
        const MutexLock lock(mutex_);
        while (state_ != State::kStopped) changed_.wait(mutex_);
    }
    for (VcpuThread& thread : threads_)
        if (thread.thread.joinable()) thread.thread.join();
}

std::map<std::string, uint64_t> Vm::statistics() const {
    std::map<std::string, uint64_t> sums;
    for (const KvmStats& stats : stats_) {
        // A counter that can't be read is left out: it is only a figure.
        if (const Status status = stats.add_to(sums); !status)
            log(LogLevel::kWarn, "read KVM's statistics: {}", status.error().message);
    }
    return sums;
}

}  // namespace drupe
