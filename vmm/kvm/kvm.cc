#include "vmm/kvm/kvm.h"

#include <fmt/core.h>

#include <cstring>

#include "vmm/kvm/ioctl.h"
#include "vmm/kvm/kvm_vm.h"

namespace drupe {
namespace {

struct Capability {
    int number;
    const char* name;
};

constexpr Capability kRequired[] = {
    {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    {KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR"},
    {KVM_CAP_SET_IDENTITY_MAP_ADDR, "KVM_CAP_SET_IDENTITY_MAP_ADDR"},
    {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
    {KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
    {KVM_CAP_PIT2, "KVM_CAP_PIT2"},
    {KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
    {KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
};

constexpr size_t kMaxCpuidEntries = 256;  // KVM_MAX_CPUID_ENTRIES of Linux
constexpr size_t kMaxMsrIndices = 4096;   // Linux 6.18 has about 200

}  // namespace

Result<Kvm> Kvm::create(Fd dev_kvm) {
    const int version = ::ioctl(dev_kvm.get(), KVM_GET_API_VERSION, 0);
    if (version < 0) {
        const Error error = os_error("KVM_GET_API_VERSION");
        return Error{ErrorCode::kUnsupported, "the descriptor isn't /dev/kvm: " + error.message,
                     error.os_errno};
    }
    if (version != KVM_API_VERSION) {
        return Error{
            ErrorCode::kUnsupported,
            fmt::format("this host's KVM has API version {}, not {}", version, KVM_API_VERSION)};
    }
    Kvm kvm(std::move(dev_kvm));
    for (const Capability& capability : kRequired) {
        if (kvm.capability(capability.number) > 0) continue;
        return Error{ErrorCode::kUnsupported,
                     fmt::format("this host's KVM lacks {}", capability.name)};
    }
    return kvm;
}

Result<KvmVm> Kvm::create_vm() const {
    TRY_ASSIGN(const int fd, kvm_ioctl(fd_.get(), KVM_CREATE_VM, "KVM_CREATE_VM", 0));
    return KvmVm(Fd(fd));
}

int Kvm::capability(int number) const {
    const int value = ::ioctl(fd_.get(), KVM_CHECK_EXTENSION, number);
    return value < 0 ? 0 : value;
}

Result<std::vector<kvm_cpuid_entry2>> Kvm::supported_cpuid() const {
    std::vector<std::byte> buffer(sizeof(kvm_cpuid2) + kMaxCpuidEntries * sizeof(kvm_cpuid_entry2));
    kvm_cpuid2 header{};
    header.nent = kMaxCpuidEntries;
    std::memcpy(buffer.data(), &header, sizeof header);
    TRY(kvm_ioctl(fd_.get(), KVM_GET_SUPPORTED_CPUID, "KVM_GET_SUPPORTED_CPUID", buffer.data()));
    std::memcpy(&header, buffer.data(), sizeof header);
    if (header.nent > kMaxCpuidEntries)
        return Error{ErrorCode::kInternal, "KVM_GET_SUPPORTED_CPUID: too many entries"};
    std::vector<kvm_cpuid_entry2> entries(header.nent);
    std::memcpy(entries.data(), buffer.data() + sizeof header,
                entries.size() * sizeof(kvm_cpuid_entry2));
    return entries;
}

Result<std::vector<uint32_t>> Kvm::msr_indices() const {
    std::vector<uint32_t> buffer(1 + kMaxMsrIndices);
    buffer[0] = kMaxMsrIndices;  // kvm_msr_list: a count, then so many
    TRY(kvm_ioctl(fd_.get(), KVM_GET_MSR_INDEX_LIST, "KVM_GET_MSR_INDEX_LIST", buffer.data()));
    const size_t count = buffer[0];
    if (count > kMaxMsrIndices)
        return Error{ErrorCode::kInternal, "KVM_GET_MSR_INDEX_LIST: too many MSRs"};
    return std::vector<uint32_t>(buffer.begin() + 1, buffer.begin() + 1 + static_cast<long>(count));
}

Result<size_t> Kvm::vcpu_mmap_size() const {
    TRY_ASSIGN(const int size,
               kvm_ioctl(fd_.get(), KVM_GET_VCPU_MMAP_SIZE, "KVM_GET_VCPU_MMAP_SIZE", 0));
    if (static_cast<size_t>(size) < sizeof(kvm_run))
        return Error{ErrorCode::kUnsupported, "KVM_GET_VCPU_MMAP_SIZE: too small"};
    return static_cast<size_t>(size);
}

}  // namespace drupe
