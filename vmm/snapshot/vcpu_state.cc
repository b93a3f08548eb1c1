#include "vmm/snapshot/vcpu_state.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace drupe {
namespace {

constexpr uint32_t kMsrTsc = 0x10;
constexpr uint32_t kMsrTscDeadline = 0x6e0;

bool counts_by_tsc(const kvm_msr_entry& msr) {
    return msr.index == kMsrTsc || msr.index == kMsrTscDeadline;
}

/// The MSRs that aren't on this vCPU already what they were: a host may show one that nobody sets.
Result<std::vector<kvm_msr_entry>> changed_msrs(const KvmVcpu& vcpu,
                                                std::span<const kvm_msr_entry> saved) {
    std::vector<uint32_t> indices;
    for (const kvm_msr_entry& msr : saved) indices.push_back(msr.index);
    TRY_ASSIGN(const std::vector<kvm_msr_entry> present, vcpu.msrs(indices));
    std::vector<kvm_msr_entry> changed;
    auto here = present.begin();  // some of the saved ones, in their order
    for (const kvm_msr_entry& msr : saved) {
        const bool readable = here != present.end() && here->index == msr.index;
        const bool same = readable && here->data == msr.data;
        if (readable) ++here;
        if (!same && !counts_by_tsc(msr)) changed.push_back(msr);
    }
    return changed;
}

Status set_xsave(const KvmVcpu& vcpu, const std::string& saved, size_t xsave_size) {
    if (saved.size() > xsave_size) {
        return Error{
            ErrorCode::kUnsupported,
            fmt::format("{} bytes of XSAVE state, this host has {}", saved.size(), xsave_size)};
    }
    std::vector<std::byte> state(xsave_size);  // KVM reads so much
    if (!saved.empty()) std::memcpy(state.data(), saved.data(), saved.size());
    return vcpu.set_xsave(state);
}

Status set_deadline(const KvmVcpu& vcpu, const VcpuState& state) {
    const auto found =
        std::find_if(state.msrs.begin(), state.msrs.end(),
                     [](const kvm_msr_entry& msr) { return msr.index == kMsrTscDeadline; });
    if (found == state.msrs.end() || found->data == 0) return ok();
    return vcpu.set_msrs(std::span(&*found, 1));
}

/// Where each vCPU's TSC stood when vCPU 0's was read: as far apart as the offsets were. Without
/// these all get the latest, since values that were read one after the other say less.
std::vector<uint64_t> stopped_tscs(std::span<const VcpuState> states) {
    std::vector<uint64_t> tscs;
    uint64_t latest = 0;
    bool have_offsets = true;
    for (const VcpuState& state : states) {
        latest = std::max(latest, state.tsc);
        have_offsets = have_offsets && state.tsc_offset.has_value();
    }
    for (const VcpuState& state : states) {
        tscs.push_back(have_offsets ? states[0].tsc - *states[0].tsc_offset + *state.tsc_offset
                                    : latest);
    }
    return tscs;
}

Status set_tscs(std::span<const KvmVcpu* const> vcpus, std::span<const uint64_t> tscs) {
    if (!vcpus.front()->has_tsc_offset()) {
        // KVM makes values that are written within a second of each other one TSC.
        kvm_msr_entry tsc{};
        tsc.index = kMsrTsc;
        tsc.data = *std::max_element(tscs.begin(), tscs.end());
        for (const KvmVcpu* const vcpu : vcpus) {
            TRY(vcpu->set_msrs(std::span(&tsc, 1)));
        }
        return ok();
    }
    TRY_ASSIGN(const uint64_t now, vcpus.front()->msr(kMsrTsc));
    TRY_ASSIGN(const uint64_t offset, vcpus.front()->tsc_offset());
    const uint64_t host = now - offset;  // scaled, as all of them see it
    for (size_t i = 0; i < vcpus.size(); ++i) {
        TRY(vcpus[i]->set_tsc_offset(tscs[i] - host));
    }
    return ok();
}

}  // namespace

// MP_STATE comes first: KVM takes pending INIT and SIPI then. The MSRs come before the LAPIC:
// timers go on, and a deadline that ends in between would be in neither; like this it is in both,
// and the guest gets an interrupt more. The events come last, since all others may change them.
Result<VcpuState> save_vcpu(const KvmVcpu& vcpu, std::span<const uint32_t> msr_indices,
                            size_t xsave_size) {
    VcpuState state;
    TRY_ASSIGN(state.mp_state, vcpu.mp_state());
    TRY_ASSIGN(state.regs, vcpu.regs());
    TRY_ASSIGN(state.sregs, vcpu.sregs());
    TRY_ASSIGN(const std::vector<std::byte> xsave, vcpu.xsave(xsave_size));
    state.xsave.assign(reinterpret_cast<const char*>(xsave.data()), xsave.size());
    TRY_ASSIGN(state.xcrs, vcpu.xcrs());
    TRY_ASSIGN(state.debugregs, vcpu.debugregs());
    TRY_ASSIGN(state.tsc, vcpu.msr(kMsrTsc));
    if (vcpu.has_tsc_offset()) {
        TRY_ASSIGN(state.tsc_offset, vcpu.tsc_offset());
    }
    TRY_ASSIGN(state.msrs, vcpu.msrs(msr_indices));
    std::erase_if(state.msrs, [](const kvm_msr_entry& msr) { return msr.index == kMsrTsc; });
    TRY_ASSIGN(state.lapic, vcpu.lapic());
    TRY_ASSIGN(state.events, vcpu.vcpu_events());
    return state;
}

// The LAPIC comes after SREGS, which has its base, and the events after REGS, which drops them.
Status restore_vcpu(const KvmVcpu& vcpu, const VcpuState& state, size_t xsave_size) {
    TRY(vcpu.set_mp_state(state.mp_state));
    TRY(vcpu.set_regs(state.regs));
    TRY(vcpu.set_sregs(state.sregs));
    TRY(vcpu.set_xcrs(state.xcrs));
    TRY(set_xsave(vcpu, state.xsave, xsave_size));
    TRY(vcpu.set_debugregs(state.debugregs));
    TRY(vcpu.set_lapic(state.lapic));
    TRY_ASSIGN(const std::vector<kvm_msr_entry> msrs, changed_msrs(vcpu, state.msrs));
    TRY(vcpu.set_msrs(msrs));
    return vcpu.set_vcpu_events(state.events);
}

Status restore_tscs(std::span<const KvmVcpu* const> vcpus, std::span<const VcpuState> states) {
    DRUPE_CHECK(!vcpus.empty() && vcpus.size() == states.size());
    const std::vector<uint64_t> stopped = stopped_tscs(states);
    TRY(set_tscs(vcpus, stopped));
    for (size_t i = 0; i < vcpus.size(); ++i) {
        TRY_ASSIGN(const uint64_t now, vcpus[i]->msr(kMsrTsc));
        if (now - stopped[i] > UINT64_MAX / 2) {
            return Error{ErrorCode::kUnsupported,
                         fmt::format("vCPU {}: its TSC was at {} and this host leaves it at {}", i,
                                     stopped[i], now)};
        }
        // An LAPIC timer's deadline is a value of the TSC.
        TRY(set_deadline(*vcpus[i], states[i]));
    }
    return ok();
}

}  // namespace drupe
