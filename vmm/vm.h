#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "vmm/arch/x86_64/layout.h"
#include "vmm/boot/boot.h"
#include "vmm/bus.h"
#include "vmm/interrupt.h"
#include "vmm/kvm/kvm.h"
#include "vmm/kvm/kvm_vm.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/vcpu.h"

namespace drupe {

struct VmConfig {
    uint64_t memory_bytes = 128ULL << 20;  ///< A multiple of 4 KiB, from kMinMemory to kMaxMemory.
    uint32_t vcpus = 1;                    ///< 1 to kMaxVcpus.
    /// Opens KVM's statistics, so that statistics() works. Costs two descriptors and some system
    /// calls more.
    bool statistics = false;
};

/// A place for one virtio-mmio device: 4 KiB of the MMIO window and an interrupt line of its own.
struct MmioSlot {
    uint32_t index = 0;    ///< Counted from 0; at most arch::kMmioSlots.
    uint64_t address = 0;  ///< arch::kMmioWindow + 4 KiB * index.
    uint32_t gsi = 0;      ///< An edge-triggered IOAPIC pin.
};

/// Where a guest's write rings an eventfd instead of leaving KVM for us.
struct Doorbell {
    uint64_t address = 0;           ///< Guest-physical, or a port if `port`.
    uint32_t size = 4;              ///< Width of the write: 1, 2, 4 or 8. Others reach the Bus.
    std::optional<uint64_t> value;  ///< Only this value rings; others reach the Bus.
    bool port = false;
};

/// What the owner of a Vm hears of. Both are called on the Vm's threads or on the caller's own.
struct VmHooks {
    /// On each vCPU's thread before it enters the guest for the first time: the place for its
    /// seccomp filter. A failure stops the machine (kHostError).
    std::function<Status(uint32_t vcpu)> on_vcpu_thread;
    /// Once, when the machine stops for whatever reason, on the thread where that was noticed (a
    /// vCPU's, or the one that called request_stop()). Must not call into the Vm: post().
    std::function<void(const Stop& stop)> on_stop;
    /// Once for each withhold_memory(), on the thread of a vCPU that can't go on without RAM: it
    /// waits for return_memory(). Must not call into the Vm: post(). May be empty if nobody
    /// withholds it.
    std::function<void()> on_memory_wanted = {};
};

/// Pages of RAM: for each of its regions a bit for each page, lowest first.
using PageBitmaps = std::vector<std::vector<uint64_t>>;

/// A machine: RAM, buses, an in-kernel interrupt controller and vCPU threads. It knows no device
/// but those that end it (power.h).
///
///     create -> attach, allocate_slot, ring, interrupt -> load or restore_vm (snapshot/vm_state.h)
///            -> start -> [pause <-> resume]* -> stopped (by the guest, by request_stop() or by an
///            error) -> destroyed
///
/// Everything up to start() is called on one thread. pause(), resume(), request_stop() and the
/// queries are callable on any thread but a vCPU's (request_stop: on these too). Its threads are
/// named "vcpu0", "vcpu1", ... After start() they use only these system calls: ioctl (KVM_RUN;
/// KVM_GET_REGS and KVM_GET_SREGS when the guest stops by a fault), futex, rt_sigreturn, write
/// (logs, and what devices do), clock_gettime, tgkill (a vCPU that stops the machine kicks the
/// others), mmap/munmap/madvise/mprotect/brk (the allocator and the thread's end), rt_sigprocmask
/// and exit.
class Vm {
  public:
    static constexpr uint64_t kMinMemory = 2ULL << 20;
    static constexpr uint64_t kMaxMemory = 1ULL << 40;
    static constexpr uint32_t kMaxVcpus = 32;

    /// Makes the machine: KVM_CREATE_VM (which binds it to this process: after the last fork),
    /// interrupt controller, timer, RAM, vCPUs with the CPUID baseline drupe-v1. kvm is used only
    /// during the call.
    [[nodiscard]] static Result<std::unique_ptr<Vm>> create(const Kvm& kvm, const VmConfig& config);

    Vm(const Vm&) = delete;
    Vm& operator=(const Vm&) = delete;
    ~Vm();  ///< Stops and joins what still runs.

    [[nodiscard]] const GuestMemory& memory() const { return memory_; }
    [[nodiscard]] const VmConfig& config() const { return config_; }

    // Before start().

    /// The next free slot (kLimit when all kMmioSlots are taken). The device tree or the command
    /// line that load() makes describes every allocated slot as virtio-mmio.
    [[nodiscard]] Result<MmioSlot> allocate_slot();
    [[nodiscard]] Status attach_mmio(uint64_t address, uint64_t size,
                                     std::shared_ptr<BusDevice> device);
    [[nodiscard]] Status attach_pio(uint16_t port, uint16_t size,
                                    std::shared_ptr<BusDevice> device);
    /// KVM keeps its own reference to the eventfd.
    [[nodiscard]] Status add_doorbell(const Doorbell& doorbell, int eventfd);
    /// An edge-triggered line, by irqfd: a slot's gsi, or e.g. 4 for a serial port.
    [[nodiscard]] Result<std::unique_ptr<Interrupt>> make_interrupt(uint32_t gsi);

    /// Raises and lowers an edge-triggered line: the interrupt is pending when it returns (an
    /// irqfd's comes by a thread of the kernel's).
    [[nodiscard]] Status pulse_line(uint32_t gsi) const;

    /// Puts kernel, initrd and tables into RAM and sets vCPU 0 to the entry. Once.
    [[nodiscard]] Status load(const BootConfig& boot);

    /// Runs the vCPUs (load() first, or own registers by vcpu()).
    [[nodiscard]] Status start(VmHooks hooks);

    // While it runs.

    /// Returns when no vCPU is in the guest and the I/O of each is complete. kConflict if it has
    /// stopped. Counts nothing: one resume() ends any number of pauses.
    [[nodiscard]] Status pause();
    /// The same without waiting: for a thread that a vCPU may wait for (a loop that resets a
    /// device). paused() says when it is done.
    [[nodiscard]] Status request_pause();
    [[nodiscard]] bool paused() const;
    [[nodiscard]] Status resume();

    /// Of a paused machine: RAM is gone (GuestMemory::take_away()). When the machine is resumed its
    /// vCPUs go on only as far as they need none: those that wait for an interrupt go on waiting,
    /// and KVM goes on with timers and interrupts.
    [[nodiscard]] Status withhold_memory();
    /// Of a paused machine: RAM is there again. refill is called with fresh RAM, before a vCPU can
    /// touch it. After an error the machine is of no use: RAM may not be what it was.
    [[nodiscard]] Status return_memory(const std::function<Status()>& refill);
    /// Of a paused machine: whether each vCPU waits for an interrupt, or for another one to start
    /// it.
    [[nodiscard]] Result<bool> halted() const;
    /// Processor time that the vCPUs' threads have used, all together.
    [[nodiscard]] std::chrono::nanoseconds cpu_time();

    /// Ends the machine: vCPUs leave the guest soon and their threads end. The first reason counts,
    /// later calls do nothing. Never blocks on the guest.
    void request_stop(const Stop& stop);
    /// Why it stopped; nullopt while it hasn't.
    [[nodiscard]] std::optional<Stop> stopped() const;
    /// Blocks until it has stopped and all vCPU threads have ended. Not on a vCPU's thread.
    void join();

    /// KVM's counters ("exits", "io_exits", "mmio_exits", ...), summed over the vCPUs. Empty unless
    /// config.statistics and the host has KVM_CAP_BINARY_STATS_FD.
    [[nodiscard]] std::map<std::string, uint64_t> statistics() const;

    /// CLOCK_MONOTONIC when vCPU 0 first entered the guest, in ns; 0 if it hasn't.
    [[nodiscard]] uint64_t first_run_ns() const { return first_run_ns_.load(); }

    // For state (snapshot/) and for tests: before start() or while paused only.

    [[nodiscard]] Vcpu& vcpu(uint32_t index) { return *threads_[index].vcpu; }
    [[nodiscard]] const KvmVm& kvm() const { return kvm_; }
    /// The CPUID leaves that a vCPU was given: the baseline on this host, but for set_cpuid().
    [[nodiscard]] std::span<const kvm_cpuid_entry2> cpuid(uint32_t index) const {
        return threads_[index].cpuid;
    }
    /// Before start().
    [[nodiscard]] Status set_cpuid(uint32_t index, std::vector<kvm_cpuid_entry2> leaves);
    /// The MSRs that are part of a vCPU's state on this host.
    [[nodiscard]] std::span<const uint32_t> msr_indices() const { return msr_indices_; }
    /// In load()'s place. Once; kConflict if the machine is loaded or has been started.
    [[nodiscard]] Status begin_restore();

    /// Has KVM note which pages the guest writes (it costs the guest a fault for each). What this
    /// process writes into RAM, as devices do, isn't noted.
    [[nodiscard]] Status log_dirty_pages(bool on);
    /// What was written since the last call or since log_dirty_pages(true), and pages that KVM made
    /// writable in that time.
    [[nodiscard]] Result<PageBitmaps> take_dirty_pages();

  private:
    enum class State : uint8_t { kNew, kRunning, kPausing, kStopped };
    struct VcpuThread {
        std::unique_ptr<Vcpu> vcpu;
        std::vector<kvm_cpuid_entry2> cpuid;
        std::thread thread;
        bool parked = false;
        bool ended = false;
    };

    Vm(const VmConfig& config, KvmVm kvm, GuestMemory memory);
    [[nodiscard]] Status create_vcpus(const Kvm& kvm);
    [[nodiscard]] Status attach_power();
    void vcpu_main(uint32_t index);
    void run_vcpu(uint32_t index);
    [[nodiscard]] bool may_run(uint32_t index);
    void await_memory(uint32_t index);
    void kick_all() DRUPE_REQUIRES(mutex_);
    [[nodiscard]] bool all_parked() const DRUPE_REQUIRES(mutex_);

    VmConfig config_;
    GuestMemory memory_;
    KvmVm kvm_;
    Bus mmio_;
    Bus pio_;
    std::vector<MmioSlot> slots_;
    std::vector<KvmStats> stats_;
    std::vector<uint32_t> msr_indices_;
    bool loaded_ = false;

    VmHooks hooks_;
    std::atomic<uint64_t> first_run_ns_ = 0;

    /// Its elements and their vCPUs are there from create() on; thread and flags under mutex_.
    std::vector<VcpuThread> threads_;
    mutable Mutex mutex_;
    Condition changed_;
    State state_ DRUPE_GUARDED_BY(mutex_) = State::kNew;
    std::optional<Stop> stop_ DRUPE_GUARDED_BY(mutex_);
    bool memory_withheld_ DRUPE_GUARDED_BY(mutex_) = false;
    bool memory_wanted_ DRUPE_GUARDED_BY(mutex_) = false;  // the hook was called
};

}  // namespace drupe
