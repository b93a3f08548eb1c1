#include "api/engine/kvm_probe.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <cerrno>

#include "base/fd.h"

namespace drupe::engine {
namespace {

constexpr int kKvmApiVersion = 12;

/// A mapping that ends with its object.
class Mapping {
  public:
    Mapping(void* address, size_t size) : address_(address), size_(size) {}
    ~Mapping() {
        if (address_ != MAP_FAILED) ::munmap(address_, size_);
    }
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    [[nodiscard]] bool valid() const { return address_ != MAP_FAILED; }
    [[nodiscard]] void* get() const { return address_; }

  private:
    void* address_;
    size_t size_;
};

}  // namespace

Result<KvmProbe> probe_kvm(const std::string& path) {
    TRY_ASSIGN(const Fd kvm, open_file(path, O_RDWR));
    KvmProbe probe;
    probe.api_version = ::ioctl(kvm.get(), KVM_GET_API_VERSION, 0);
    if (probe.api_version != kKvmApiVersion) {
        return Error{ErrorCode::kUnsupported, path + " doesn't speak version 12 of KVM's API"};
    }
    const Fd vm(::ioctl(kvm.get(), KVM_CREATE_VM, 0));
    if (!vm.valid()) return os_error("KVM_CREATE_VM");
    const Mapping memory(::mmap(nullptr, ring0::kMemoryBytes, PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0),
                         ring0::kMemoryBytes);
    if (!memory.valid()) return os_error("mmap");
    kvm_userspace_memory_region region{};
    region.memory_size = ring0::kMemoryBytes;
    region.userspace_addr = reinterpret_cast<uintptr_t>(memory.get());
    if (::ioctl(vm.get(), KVM_SET_USER_MEMORY_REGION, &region) < 0) {
        return os_error("KVM_SET_USER_MEMORY_REGION");
    }
    const Fd vcpu(::ioctl(vm.get(), KVM_CREATE_VCPU, 0));
    if (!vcpu.valid()) return os_error("KVM_CREATE_VCPU");
    const int size = ::ioctl(kvm.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
    if (size < static_cast<int>(sizeof(kvm_run))) return os_error("KVM_GET_VCPU_MMAP_SIZE");
    const Mapping shared(::mmap(nullptr, static_cast<size_t>(size), PROT_READ | PROT_WRITE,
                                MAP_SHARED, vcpu.get(), 0),
                         static_cast<size_t>(size));
    if (!shared.valid()) return os_error("mmap of the vCPU");
    if (const char* failed = ring0::prepare(kvm.get(), vcpu.get(), memory.get())) {
        return os_error(failed);
    }
    probe.run = ring0::measure(vcpu.get(), *static_cast<const kvm_run*>(shared.get()));
    if (probe.run.os_errno != 0) {
        return os_error("KVM_RUN", probe.run.os_errno);
    }
    if (probe.run.exit_reason != KVM_EXIT_IO) {
        return Error{ErrorCode::kUnsupported, "KVM_RUN: ring-0 code ended with reason " +
                                                  std::to_string(probe.run.exit_reason)};
    }
    return probe;
}

}  // namespace drupe::engine
