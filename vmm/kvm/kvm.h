#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "vmm/kvm/kvm_headers.h"

namespace drupe {

class KvmVm;

/// The host's KVM, by a descriptor of /dev/kvm that somebody else opened.
class Kvm {
  public:
    /// Takes the descriptor over. kUnsupported if it isn't KVM (API version 12) or lacks a
    /// capability that Drupe needs; the message names it.
    [[nodiscard]] static Result<Kvm> create(Fd dev_kvm);

    /// KVM_CREATE_VM: an empty machine, bound to this process's address space.
    [[nodiscard]] Result<KvmVm> create_vm() const;

    /// KVM_CHECK_EXTENSION: 0 if the host doesn't have it.
    [[nodiscard]] int capability(int number) const;
    /// KVM_GET_SUPPORTED_CPUID: what a guest could be shown at most.
    [[nodiscard]] Result<std::vector<kvm_cpuid_entry2>> supported_cpuid() const;
    /// KVM_GET_MSR_INDEX_LIST: the MSRs that are part of a vCPU's state here.
    [[nodiscard]] Result<std::vector<uint32_t>> msr_indices() const;
    /// KVM_GET_VCPU_MMAP_SIZE.
    [[nodiscard]] Result<size_t> vcpu_mmap_size() const;

  private:
    explicit Kvm(Fd fd) : fd_(std::move(fd)) {}
    Fd fd_;
};

}  // namespace drupe
