#include "vmm/snapshot/vm_state.h"

#include <fmt/core.h>

#include "vmm/arch/x86_64/cpuid.h"

namespace drupe {
namespace {

/// Two clocks as good as the same differ by so much from one calibration to the next.
constexpr uint64_t kTscTolerancePpm = 250;

Status check_shape(const Vm& vm, const VmState& state) {
    const VmConfig& config = vm.config();
    if (state.vcpus.size() == config.vcpus && state.memory_bytes == config.memory_bytes)
        return ok();
    return Error{
        ErrorCode::kInvalid,
        fmt::format("it is of a machine with {} vCPUs and {} bytes of memory, this one has "
                    "{} and {}",
                    state.vcpus.size(), state.memory_bytes, config.vcpus, config.memory_bytes)};
}

/// Before anything of the TSC is set.
Status set_tsc_frequency(const KvmVm& kvm, const KvmVcpu& vcpu, uint32_t saved_khz) {
    TRY_ASSIGN(const uint32_t here_khz, vcpu.tsc_khz());
    const uint64_t apart = saved_khz > here_khz ? saved_khz - here_khz : here_khz - saved_khz;
    if (apart * 1'000'000 <= uint64_t{saved_khz} * kTscTolerancePpm) return ok();
    if (kvm.capability(KVM_CAP_TSC_CONTROL) <= 0) {
        return Error{ErrorCode::kUnsupported,
                     fmt::format("its TSC counts {} kHz, this host's {} and can't be scaled",
                                 saved_khz, here_khz)};
    }
    return vcpu.set_tsc_khz(saved_khz);
}

Status restore_one(Vm& vm, uint32_t index, const VmState& state) {
    const KvmVcpu& vcpu = vm.vcpu(index).kvm();
    const VcpuState& saved = state.vcpus[index];
    TRY(arch::check_cpuid(saved.cpuid, vm.cpuid(index)));
    TRY(vm.set_cpuid(index, saved.cpuid));
    TRY(set_tsc_frequency(vm.kvm(), vcpu, state.tsc_khz));
    return restore_vcpu(vcpu, saved, vm.kvm().xsave_size());
}

}  // namespace

Result<VmState> save_vm(Vm& vm) {
    if (!vm.paused()) return Error{ErrorCode::kConflict, "save a machine: it isn't paused"};
    VmState state;
    state.memory_bytes = vm.config().memory_bytes;
    const size_t xsave_size = vm.kvm().xsave_size();
    for (uint32_t index = 0; index < vm.config().vcpus; ++index) {
        auto saved = save_vcpu(vm.vcpu(index).kvm(), vm.msr_indices(), xsave_size);
        if (!saved) return std::move(saved).error().wrap(fmt::format("save vCPU {}", index));
        saved.value().cpuid.assign(vm.cpuid(index).begin(), vm.cpuid(index).end());
        state.vcpus.push_back(std::move(saved).value());
    }
    TRY_ASSIGN(state.tsc_khz, vm.vcpu(0).kvm().tsc_khz());
    for (uint32_t chip = 0; chip < state.irqchips.size(); ++chip) {
        TRY_ASSIGN(state.irqchips[chip], vm.kvm().irqchip(chip));
    }
    TRY_ASSIGN(state.pit, vm.kvm().pit2());
    TRY_ASSIGN(const kvm_clock_data clock, vm.kvm().clock());
    state.clock_ns = clock.clock;
    return state;
}

Status restore_vm(Vm& vm, const VmState& state) {
    TRY(check_shape(vm, state));
    TRY(vm.begin_restore());
    std::vector<const KvmVcpu*> vcpus;
    for (uint32_t index = 0; index < vm.config().vcpus; ++index) {
        Status restored = restore_one(vm, index, state);
        if (!restored) return std::move(restored).error().wrap(fmt::format("vCPU {}", index));
        vcpus.push_back(&vm.vcpu(index).kvm());
    }
    TRY(restore_tscs(vcpus, state.vcpus));
    for (const kvm_irqchip& chip : state.irqchips) {
        TRY(vm.kvm().set_irqchip(chip));
    }
    TRY(vm.kvm().set_pit2(state.pit));
    kvm_clock_data clock{};  // without KVM_CLOCK_REALTIME: the time in between isn't added
    clock.clock = state.clock_ns;
    TRY(vm.kvm().set_clock(clock));
    // Refused for a guest without kvmclock, which has no flag to see it by.
    for (const KvmVcpu* const vcpu : vcpus) (void)vcpu->kvmclock_ctrl();
    return ok();
}

}  // namespace drupe
