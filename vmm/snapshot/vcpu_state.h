#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "vmm/kvm/kvm_vcpu.h"

namespace drupe {

/// All that one vCPU is, in KVM's own structures. Of a file it is untrusted: only what KVM and
/// restore_vm() accept becomes a vCPU.
struct VcpuState {
    std::vector<kvm_cpuid_entry2> cpuid;  ///< What it was shown, not what KVM reports of it.
    kvm_mp_state mp_state{};
    kvm_regs regs{};
    kvm_sregs sregs{};
    std::string xsave;  ///< The bytes of x87, SSE and AVX state.
    kvm_xcrs xcrs{};
    kvm_debugregs debugregs{};
    std::vector<kvm_msr_entry> msrs;  ///< Those that the host can read, but for the TSC.
    kvm_lapic_state lapic{};
    kvm_vcpu_events events{};
    uint64_t tsc = 0;
    std::optional<uint64_t> tsc_offset;  ///< nullopt: the host has no KVM_VCPU_TSC_OFFSET.
};

/// Of a vCPU that isn't in KVM_RUN and has no I/O pending.
[[nodiscard]] Result<VcpuState> save_vcpu(const KvmVcpu& vcpu,
                                          std::span<const uint32_t> msr_indices, size_t xsave_size);

/// Everything but CPUID (set before) and what counts time by the TSC (restore_tscs() comes next).
[[nodiscard]] Status restore_vcpu(const KvmVcpu& vcpu, const VcpuState& state, size_t xsave_size);

/// For all vCPUs of a machine at once: their TSCs go on where they stopped, as far apart as they
/// were, and their deadline timers are armed. kUnsupported if a TSC would go back.
[[nodiscard]] Status restore_tscs(std::span<const KvmVcpu* const> vcpus,
                                  std::span<const VcpuState> states);

}  // namespace drupe
