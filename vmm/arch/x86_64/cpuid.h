#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "vmm/kvm/kvm_headers.h"

namespace drupe::arch {

/// The one processor model that guests are shown, as a bound from above: a guest sees a feature if
/// this list has it and the host's KVM offers it. A snapshot moves to any host that offers at least
/// what it was taken with, so the list holds what is common in the field (x86-64-v3 with the crypto
/// extensions and all of the mitigations' bits) and leaves out what
///   - isn't the guest's business: virtualization (VMX, SVM), SEV, SGX, the PMU, MONITOR, power
///     management, memory bandwidth, Processor Trace;
///   - is broken or goes away: TSX, MPX;
///   - makes the state much bigger or differs between hosts: AVX-512, AMX, PKU, LA57, CET;
///   - can't move: the invariant TSC and the frequency leaves (kvmclock tells the time).
/// A feature leaves or enters only under a new name.
inline constexpr std::string_view kCpuBaseline = "drupe-v1";

struct CpuidOptions {
    uint32_t vcpu = 0;          ///< The vCPU's index, which is its APIC id.
    uint32_t vcpus = 1;         ///< 1 to 32: one socket of so many cores, one thread each.
    bool tsc_deadline = false;  ///< KVM_CAP_TSC_DEADLINE_TIMER (older KVMs don't list the bit).
};

/// XCR0 with all state components that the leaves show; 0 if they show no XSAVE.
[[nodiscard]] uint64_t supported_xcr0(std::span<const kvm_cpuid_entry2> leaves);

/// The leaves for one vCPU, from KVM_GET_SUPPORTED_CPUID's.
[[nodiscard]] std::vector<kvm_cpuid_entry2> baseline_cpuid(
    std::span<const kvm_cpuid_entry2> supported, const CpuidOptions& options);

/// Whether a vCPU that was shown `saved` can go on where a new one is shown `host` (both from
/// baseline_cpuid(), `saved` possibly of another host, or of anybody's making): kUnsupported if a
/// feature, the vendor or a leaf isn't had here; the message names leaf and register.
[[nodiscard]] Status check_cpuid(std::span<const kvm_cpuid_entry2> saved,
                                 std::span<const kvm_cpuid_entry2> host);

}  // namespace drupe::arch
