#include "vmm/kvm/kvm_vcpu.h"

#include <fmt/core.h>
#include <sys/mman.h>

#include <algorithm>
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

constexpr size_t kMaxMsrsAtOnce = 255;  // Linux: fewer than MAX_IO_MSRS, 256

kvm_device_attr tsc_offset_attribute(uint64_t* value) {
    kvm_device_attr attribute{};
    attribute.group = KVM_VCPU_TSC_CTRL;
    attribute.attr = KVM_VCPU_TSC_OFFSET;
    attribute.addr = reinterpret_cast<uintptr_t>(value);
    return attribute;
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

Result<std::vector<std::byte>> KvmVcpu::xsave(size_t size) const {
    static_assert(sizeof(kvm_xsave) == 4096);
    std::vector<std::byte> state(std::max(size, sizeof(kvm_xsave)));
    if (size > sizeof(kvm_xsave)) {
        TRY(kvm_ioctl(fd_.get(), KVM_GET_XSAVE2, "KVM_GET_XSAVE2", state.data()));
    } else {
        TRY(kvm_ioctl(fd_.get(), KVM_GET_XSAVE, "KVM_GET_XSAVE", state.data()));
    }
    return state;
}

Status KvmVcpu::set_xsave(std::span<const std::byte> state) const {
    TRY(kvm_ioctl(fd_.get(), KVM_SET_XSAVE, "KVM_SET_XSAVE", state.data()));
    return ok();
}

Result<kvm_xcrs> KvmVcpu::xcrs() const {
    kvm_xcrs xcrs{};
    TRY(kvm_ioctl(fd_.get(), KVM_GET_XCRS, "KVM_GET_XCRS", &xcrs));
    return xcrs;
}

Status KvmVcpu::set_xcrs(const kvm_xcrs& xcrs) const {
    TRY(kvm_ioctl(fd_.get(), KVM_SET_XCRS, "KVM_SET_XCRS", &xcrs));
    return ok();
}

Status KvmVcpu::set_xcr0(uint64_t value) const {
    kvm_xcrs xcrs{};
    xcrs.nr_xcrs = 1;
    xcrs.xcrs[0].xcr = 0;
    xcrs.xcrs[0].value = value;
    return set_xcrs(xcrs);
}

Result<kvm_debugregs> KvmVcpu::debugregs() const {
    kvm_debugregs registers{};
    TRY(kvm_ioctl(fd_.get(), KVM_GET_DEBUGREGS, "KVM_GET_DEBUGREGS", &registers));
    return registers;
}

Status KvmVcpu::set_debugregs(const kvm_debugregs& registers) const {
    TRY(kvm_ioctl(fd_.get(), KVM_SET_DEBUGREGS, "KVM_SET_DEBUGREGS", &registers));
    return ok();
}

Status KvmVcpu::set_msrs(std::span<const kvm_msr_entry> msrs) const {
    while (!msrs.empty()) {
        const auto batch = msrs.first(std::min(msrs.size(), kMaxMsrsAtOnce));
        kvm_msrs header{};
        header.nmsrs = static_cast<uint32_t>(batch.size());
        std::vector<std::byte> request = with_entries(header, batch);
        // KVM stops at the first that it refuses and returns how many it took.
        TRY_ASSIGN(const int done,
                   kvm_ioctl(fd_.get(), KVM_SET_MSRS, "KVM_SET_MSRS", request.data()));
        if (static_cast<size_t>(done) < batch.size()) {
            const kvm_msr_entry& refused = batch[static_cast<size_t>(done)];
            return Error{ErrorCode::kUnsupported,
                         fmt::format("KVM_SET_MSRS: this host refuses {:#x} for MSR {:#x}",
                                     uint64_t{refused.data}, uint32_t{refused.index})};
        }
        msrs = msrs.subspan(batch.size());
    }
    return ok();
}

Result<std::vector<kvm_msr_entry>> KvmVcpu::msrs(std::span<const uint32_t> indices) const {
    std::vector<kvm_msr_entry> readable;
    while (!indices.empty()) {
        std::vector<kvm_msr_entry> batch(std::min(indices.size(), kMaxMsrsAtOnce));
        for (size_t i = 0; i < batch.size(); ++i) batch[i].index = indices[i];
        kvm_msrs header{};
        header.nmsrs = static_cast<uint32_t>(batch.size());
        std::vector<std::byte> request =
            with_entries(header, std::span<const kvm_msr_entry>(batch));
        TRY_ASSIGN(const int done,
                   kvm_ioctl(fd_.get(), KVM_GET_MSRS, "KVM_GET_MSRS", request.data()));
        const size_t read = std::min(static_cast<size_t>(done), batch.size());
        std::memcpy(batch.data(), request.data() + sizeof header, read * sizeof(kvm_msr_entry));
        readable.insert(readable.end(), batch.begin(), batch.begin() + static_cast<long>(read));
        // The one that stopped it is left out.
        indices = indices.subspan(read < batch.size() ? read + 1 : read);
    }
    return readable;
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
        return Error{ErrorCode::kUnsupported, fmt::format("KVM_GET_MSRS: no MSR {:#x}", index)};
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

Result<kvm_vcpu_events> KvmVcpu::vcpu_events() const {
    kvm_vcpu_events events{};
    TRY(kvm_ioctl(fd_.get(), KVM_GET_VCPU_EVENTS, "KVM_GET_VCPU_EVENTS", &events));
    return events;
}

Status KvmVcpu::set_vcpu_events(const kvm_vcpu_events& events) const {
    TRY(kvm_ioctl(fd_.get(), KVM_SET_VCPU_EVENTS, "KVM_SET_VCPU_EVENTS", &events));
    return ok();
}

Result<uint32_t> KvmVcpu::tsc_khz() const {
    TRY_ASSIGN(const int khz, kvm_ioctl(fd_.get(), KVM_GET_TSC_KHZ, "KVM_GET_TSC_KHZ", 0));
    return static_cast<uint32_t>(khz);
}

Status KvmVcpu::set_tsc_khz(uint32_t khz) const {
    TRY(kvm_ioctl(fd_.get(), KVM_SET_TSC_KHZ, "KVM_SET_TSC_KHZ", static_cast<unsigned long>(khz)));
    return ok();
}

bool KvmVcpu::has_tsc_offset() const {
    kvm_device_attr attribute = tsc_offset_attribute(nullptr);
    return ::ioctl(fd_.get(), KVM_HAS_DEVICE_ATTR, &attribute) == 0;
}

Result<uint64_t> KvmVcpu::tsc_offset() const {
    uint64_t offset = 0;
    kvm_device_attr attribute = tsc_offset_attribute(&offset);
    TRY(kvm_ioctl(fd_.get(), KVM_GET_DEVICE_ATTR, "KVM_VCPU_TSC_OFFSET", &attribute));
    return offset;
}

Status KvmVcpu::set_tsc_offset(uint64_t offset) const {
    kvm_device_attr attribute = tsc_offset_attribute(&offset);
    TRY(kvm_ioctl(fd_.get(), KVM_SET_DEVICE_ATTR, "KVM_VCPU_TSC_OFFSET", &attribute));
    return ok();
}

Status KvmVcpu::kvmclock_ctrl() const {
    TRY(kvm_ioctl(fd_.get(), KVM_KVMCLOCK_CTRL, "KVM_KVMCLOCK_CTRL", 0));
    return ok();
}

Result<KvmStats> KvmVcpu::open_stats() const {
    TRY_ASSIGN(const int fd, kvm_ioctl(fd_.get(), KVM_GET_STATS_FD, "KVM_GET_STATS_FD", 0));
    return KvmStats::create(Fd(fd));
}

}  // namespace drupe
