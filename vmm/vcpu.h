#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "base/log.h"
#include "base/result.h"
#include "vmm/bus.h"
#include "vmm/kvm/kvm_vcpu.h"

namespace drupe {

/// Why a machine stopped.
enum class StopReason : uint8_t {
    kPowerOff,       ///< The guest wrote the power-off register (power.h).
    kReset,          ///< The guest asked for a reset: port 0x64, port 0xcf9 or the reset register.
    kPanic,          ///< The guest's kernel said that it panicked (pvpanic).
    kTripleFault,    ///< KVM_EXIT_SHUTDOWN.
    kInternalError,  ///< KVM can't go on with what the guest does (an instruction it can't
                     ///< emulate).
    kHostError,      ///< The host failed: KVM_RUN returned an error, a vCPU thread can't be set up.
    kRequested,      ///< The owner asked for it.
};

/// "power-off", "reset", "panic", "triple fault", "internal error", "host error", "requested".
[[nodiscard]] const char* to_string(StopReason reason);

struct Stop {
    StopReason reason = StopReason::kRequested;
    std::string detail;  ///< For people; may hold values that the guest chose, never raw bytes.
};

/// One virtual CPU: enters the guest and answers its exits from two buses. run() is called on one
/// thread, the vCPU's own; kick() on any. What a guest does can't make it fail other than by Stop:
/// ports and addresses where nothing is, odd widths and code fetched from MMIO are answered like an
/// empty bus.
///
/// A kick is sticky: run() returns Kicked for it once, even if it came between two runs. It returns
/// only when the I/O of the last exit is complete, so that the state can then be saved.
///
///     do {
///         auto end = vcpu.run();
///         if (Stop* stop = std::get_if<Stop>(&end)) break;
///     } while (what the kick was for allows it);
class Vcpu {
  public:
    /// The buses outlive the Vcpu.
    Vcpu(KvmVcpu kvm, const Bus& mmio, const Bus& pio);
    Vcpu(const Vcpu&) = delete;
    Vcpu& operator=(const Vcpu&) = delete;
    ~Vcpu() = default;

    struct Kicked {};
    /// The guest needs RAM that isn't there (GuestMemory::take_away()).
    struct NoMemory {};
    /// In the guest until a kick or the end. After a Stop, don't call it again; after NoMemory when
    /// RAM is there again: what the guest did is tried anew.
    [[nodiscard]] std::variant<Kicked, NoMemory, Stop> run();
    /// What NoMemory is when RAM should be there.
    [[nodiscard]] Stop memory_error() const;

    /// Makes run() return soon. If run() may be in the guest, the caller also sends kick_signal()
    /// to its thread.
    void kick();

    [[nodiscard]] KvmVcpu& kvm() { return kvm_; }

    /// The real-time signal whose (empty) handler interrupts KVM_RUN. install_kick_handler() comes
    /// first, once a process.
    static int kick_signal();
    [[nodiscard]] static Status install_kick_handler();

  private:
    void do_pio();
    void do_mmio();
    [[nodiscard]] Stop run_error(int error) const;
    [[nodiscard]] Stop system_event() const;
    [[nodiscard]] Stop internal_error() const;
    [[nodiscard]] std::string where() const;

    KvmVcpu kvm_;
    const Bus& mmio_;
    const Bus& pio_;
    LogLimit unknown_accesses_;
};

}  // namespace drupe
