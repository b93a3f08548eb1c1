#include "vmm/kvm/kvm_vcpu.h"

#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "vmm/kvm/ioctl.h"

namespace drupe {
namespace {

/// For the structs that end in an array: a header, then its entries.
template <class Header, class Entry>
std::vector<std::byte> with_entries(const Header& header, std::span<const Entry> entries) {
    std::vector<std::byte> buffer(sizeof header + entries.size_bytes());
    std::memcpy(buffer.data(), &header, sizeof header);
    if (!entries.empty())
        std::memcpy(buffer.data() + sizeof header, entries.data(), entries.size_bytes());
    return buffer;
}

}  // namespace

KvmVcpu::~KvmVcpu() {
    if (run_ != nullptr) ::munmap(run_, run_size_);
}

int KvmVcpu::run() const {
    return ::ioctl(fd_.get(), KVM_RUN, 0) < 0 ? errno : 0;
}

kvm_run& KvmVcpu::exit() const {
    return *static_cast<kvm_run*>(static_cast<void*>(run_));
}

std::span<std::byte> KvmVcpu::pio_data() const {
    const auto& io = exit().io;
    const uint64_t size = uint64_t{io.size} * io.count;
    if (io.data_offset > run_size_ || size > run_size_ - io.data_offset) return {};
    return {run_ + io.data_offset, static_cast<size_t>(size)};
}

void KvmVcpu::set_immediate_exit(bool on) const {
    // Sequentially consistent: between a kick and the state that it announces no order may slip.
    std::atomic_ref<uint8_t>(exit().immediate_exit).store(on ? 1 : 0);
}

Status KvmVcpu::set_cpuid(std::span<const kvm_cpuid_entry2> entries) const {
    kvm_cpuid2 header{};
    header.nent = static_cast<uint32_t>(entries.size());
    std::vector<std::byte> request = with_entries(header, entries);
    TRY(kvm_ioctl(fd_.get(), KVM_SET_CPUID2, "KVM_SET_CPUID2", request.data()));
    return ok();
}

Result<kvm_regs> KvmVcpu::regs() const {
    kvm_regs regs{};
    TRY(kvm_ioctl(fd_.get(), KVM_GET_REGS, "KVM_GET_REGS", &regs));
    return regs;
}

Status KvmVcpu::set_regs(const kvm_regs& regs) const {
    TRY(kvm_ioctl(fd_.get(), KVM_SET_REGS, "KVM_SET_REGS", &regs));
    return ok();
}

Result<kvm_sregs> KvmVcpu::sregs() const {
    kvm_sregs sregs{};
    TRY(kvm_ioctl(fd_.get(), KVM_GET_SREGS, "KVM_GET_SREGS", &sregs));
    return sregs;
}

Status KvmVcpu::set_sregs(const kvm_sregs& sregs) const {
    TRY(kvm_ioctl(fd_.get(), KVM_SET_SREGS, "KVM_SET_SREGS", &sregs));
    return ok();
}

Status KvmVcpu::set_fpu(const kvm_fpu& fpu) const {
    TRY(kvm_ioctl(fd_.get(), KVM_SET_FPU, "KVM_SET_FPU", &fpu));
    return ok();
}

Status KvmVcpu::set_xcr0(uint64_t value) const {
    kvm_xcrs xcrs{};
    xcrs.nr_xcrs = 1;
    xcrs.xcrs[0].xcr = 0;
    xcrs.xcrs[0].value = value;
    TRY(kvm_ioctl(fd_.get(), KVM_SET_XCRS, "KVM_SET_XCRS", &xcrs));
    return ok();
}

Status KvmVcpu::set_msrs(std::span<const kvm_msr_entry> msrs) const {
    kvm_msrs header{};
    header.nmsrs = static_cast<uint32_t>(msrs.size());
    std::vector<std::byte> request = with_entries(header, msrs);
    // KVM stops at the first that it refuses and returns how many it took.
    TRY_ASSIGN(const int done, kvm_ioctl(fd_.get(), KVM_SET_MSRS, "KVM_SET_MSRS", request.data()));
    if (static_cast<size_t>(done) == msrs.size()) return ok();
    return Error{ErrorCode::kUnsupported,
                 "KVM_SET_MSRS: this host refuses MSR " +
                     std::to_string(msrs[static_cast<size_t>(done)].index)};
}

Result<uint64_t> KvmVcpu::msr(uint32_t index) const {
    kvm_msrs header{};
    header.nmsrs = 1;
    kvm_msr_entry entry{};
    entry.index = index;
    std::vector<std::byte> request =
        with_entries(header, std::span<const kvm_msr_entry>(&entry, 1));
    TRY_ASSIGN(const int done, kvm_ioctl(fd_.get(), KVM_GET_MSRS, "KVM_GET_MSRS", request.data()));
    if (done != 1)
        return Error{ErrorCode::kUnsupported, "KVM_GET_MSRS: no MSR " + std::to_string(index)};
    std::memcpy(&entry, request.data() + sizeof header, sizeof entry);
    return entry.data;
}

Result<kvm_lapic_state> KvmVcpu::lapic() const {
    kvm_lapic_state lapic{};
    TRY(kvm_ioctl(fd_.get(), KVM_GET_LAPIC, "KVM_GET_LAPIC", &lapic));
    return lapic;
}

Status KvmVcpu::set_lapic(const kvm_lapic_state& lapic) const {
    TRY(kvm_ioctl(fd_.get(), KVM_SET_LAPIC, "KVM_SET_LAPIC", &lapic));
    return ok();
}

Result<kvm_mp_state> KvmVcpu::mp_state() const {
    kvm_mp_state state{};
    TRY(kvm_ioctl(fd_.get(), KVM_GET_MP_STATE, "KVM_GET_MP_STATE", &state));
    return state;
}

Status KvmVcpu::set_mp_state(const kvm_mp_state& state) const {
    TRY(kvm_ioctl(fd_.get(), KVM_SET_MP_STATE, "KVM_SET_MP_STATE", &state));
    return ok();
}

Result<uint32_t> KvmVcpu::tsc_khz() const {
    TRY_ASSIGN(const int khz, kvm_ioctl(fd_.get(), KVM_GET_TSC_KHZ, "KVM_GET_TSC_KHZ", 0));
    return static_cast<uint32_t>(khz);
}

Result<KvmStats> KvmVcpu::open_stats() const {
    TRY_ASSIGN(const int fd, kvm_ioctl(fd_.get(), KVM_GET_STATS_FD, "KVM_GET_STATS_FD", 0));
    return KvmStats::create(Fd(fd));
}

}  // namespace drupe
