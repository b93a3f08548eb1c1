#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "vmm/snapshot/vcpu_state.h"
#include "vmm/vm.h"

namespace drupe {

/// A machine without its RAM and its devices. docs/formats/snapshot.md has its bytes.
///
///     Vm, paused -> save_vm -> VmState -> encode -> bytes -> decode -> VmState -> restore_vm
///     -> a fresh Vm, of this or another process, on this host or one that has what this one has
struct VmState {
    uint64_t memory_bytes = 0;
    uint32_t tsc_khz = 0;
    uint64_t clock_ns = 0;  ///< kvmclock
    std::vector<VcpuState> vcpus;
    std::array<kvm_irqchip, 3> irqchips{};  ///< Both PICs and the IOAPIC, by their KVM_IRQCHIP_ id.
    kvm_pit_state2 pit{};
};

/// kConflict unless the machine is paused. Its devices must be quiet. The machine isn't changed.
[[nodiscard]] Result<VmState> save_vm(Vm& vm);

/// Makes a machine that was created with the same shape go on where the other was saved: in
/// load()'s place, with its RAM in place and its devices attached, before start(). What counts
/// monotonic time (kvmclock, TSC) goes on where it stopped. After a failure the machine is good for
/// nothing.
///   kConflict     it was loaded or started
///   kInvalid      another number of vCPUs, other RAM
///   kUnsupported  this host lacks a feature, an MSR or the TSC's frequency; the message names it
[[nodiscard]] Status restore_vm(Vm& vm, const VmState& state);

/// The state file's section of it.
inline constexpr std::string_view kVmSection = "machine";
inline constexpr uint32_t kVmSectionVersion = 1;
[[nodiscard]] std::string encode_vm_state(const VmState& state);
/// From anybody's bytes: bounded, and whole. Whether it can be restored is another question.
[[nodiscard]] Result<VmState> decode_vm_state(std::string_view bytes);

}  // namespace drupe
