#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "vmm/kvm/kvm_headers.h"
#include "vmm/kvm/kvm_stats.h"

namespace drupe {

/// A vCPU's descriptor and its shared kvm_run page: one function per ioctl, errors named after it.
/// Belongs to one thread at a time, but for set_immediate_exit().
class KvmVcpu {
  public:
    KvmVcpu(uint32_t id, Fd fd, std::byte* run, size_t run_size)
        : id_(id), fd_(std::move(fd)), run_(run), run_size_(run_size) {}
    KvmVcpu(KvmVcpu&& other) noexcept
        : id_(other.id_),
          fd_(std::move(other.fd_)),
          run_(std::exchange(other.run_, nullptr)),
          run_size_(other.run_size_) {}
    KvmVcpu& operator=(KvmVcpu&&) = delete;
    ~KvmVcpu();

    [[nodiscard]] uint32_t id() const { return id_; }

    /// KVM_RUN: 0, or errno (EINTR: a signal or immediate_exit).
    [[nodiscard]] int run() const;
    /// What the last exit was. The kernel writes it during run(); the guest can't.
    [[nodiscard]] kvm_run& exit() const;
    /// The data of a KVM_EXIT_IO, empty if what the kernel says leaves the mapping.
    [[nodiscard]] std::span<std::byte> pio_data() const;
    /// KVM_CAP_IMMEDIATE_EXIT: run() completes pending I/O and returns EINTR at once while it is
    /// set. Any thread.
    void set_immediate_exit(bool on) const;

    [[nodiscard]] Status set_cpuid(std::span<const kvm_cpuid_entry2> entries) const;
    [[nodiscard]] Result<kvm_regs> regs() const;
    [[nodiscard]] Status set_regs(const kvm_regs& regs) const;
    [[nodiscard]] Result<kvm_sregs> sregs() const;
    [[nodiscard]] Status set_sregs(const kvm_sregs& sregs) const;
    [[nodiscard]] Status set_fpu(const kvm_fpu& fpu) const;
    /// KVM_GET_XSAVE2, or KVM_GET_XSAVE where the state has no more than that. Both of the size
    /// that KvmVm::xsave_size() says: KVM reads and writes that much.
    [[nodiscard]] Result<std::vector<std::byte>> xsave(size_t size) const;
    [[nodiscard]] Status set_xsave(std::span<const std::byte> state) const;
    [[nodiscard]] Result<kvm_xcrs> xcrs() const;
    [[nodiscard]] Status set_xcrs(const kvm_xcrs& xcrs) const;
    [[nodiscard]] Status set_xcr0(uint64_t value) const;
    [[nodiscard]] Result<kvm_debugregs> debugregs() const;
    [[nodiscard]] Status set_debugregs(const kvm_debugregs& registers) const;
    /// The error names the first MSR that this host refuses.
    [[nodiscard]] Status set_msrs(std::span<const kvm_msr_entry> msrs) const;
    /// Those of the indices that can be read, in their order.
    [[nodiscard]] Result<std::vector<kvm_msr_entry>> msrs(std::span<const uint32_t> indices) const;
    [[nodiscard]] Result<uint64_t> msr(uint32_t index) const;
    [[nodiscard]] Result<kvm_lapic_state> lapic() const;
    [[nodiscard]] Status set_lapic(const kvm_lapic_state& lapic) const;
    [[nodiscard]] Result<kvm_mp_state> mp_state() const;
    [[nodiscard]] Status set_mp_state(const kvm_mp_state& state) const;
    [[nodiscard]] Result<kvm_vcpu_events> vcpu_events() const;
    [[nodiscard]] Status set_vcpu_events(const kvm_vcpu_events& events) const;
    [[nodiscard]] Result<uint32_t> tsc_khz() const;
    [[nodiscard]] Status set_tsc_khz(uint32_t khz) const;
    /// Whether the two below work: KVM_VCPU_TSC_OFFSET is there since Linux 5.16. The guest's TSC
    /// is the host's, scaled, plus the offset, modulo 2^64.
    [[nodiscard]] bool has_tsc_offset() const;
    [[nodiscard]] Result<uint64_t> tsc_offset() const;
    [[nodiscard]] Status set_tsc_offset(uint64_t offset) const;
    /// Tells the guest's watchdogs that it stood still; an error if it doesn't use kvmclock.
    [[nodiscard]] Status kvmclock_ctrl() const;
    /// KVM_GET_STATS_FD.
    [[nodiscard]] Result<KvmStats> open_stats() const;

  private:
    uint32_t id_;
    Fd fd_;
    std::byte* run_;
    size_t run_size_;
};

}  // namespace drupe
