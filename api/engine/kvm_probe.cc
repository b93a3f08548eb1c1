#include "api/engine/kvm_probe.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "api/engine/clock.h"
#include "base/fd.h"

namespace drupe::engine {
namespace {

constexpr int kKvmApiVersion = 12;
constexpr size_t kPage = 4096;
constexpr uint64_t kCodeAddress = 0x1000;

//        xor cx, cx;  again: mov eax, cr0;  dec cx;  jnz again;  hlt
constexpr std::array<uint8_t, 9> kCode{0x31, 0xc9, 0x0f, 0x20, 0xc0, 0x49, 0x75, 0xfa, 0xf4};

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

/// Real mode, at the code, with nothing else set.
Status set_registers(int vcpu) {
    kvm_sregs special{};
    if (::ioctl(vcpu, KVM_GET_SREGS, &special) < 0) return os_error("KVM_GET_SREGS");
    special.cs.base = 0;
    special.cs.selector = 0;
    if (::ioctl(vcpu, KVM_SET_SREGS, &special) < 0) return os_error("KVM_SET_SREGS");
    kvm_regs registers{};
    registers.rip = kCodeAddress;
    registers.rflags = 2;
    if (::ioctl(vcpu, KVM_SET_REGS, &registers) < 0) return os_error("KVM_SET_REGS");
    return ok();
}

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
    const Mapping memory(
        ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), kPage);
    if (!memory.valid()) return os_error("mmap");
    std::memcpy(memory.get(), kCode.data(), kCode.size());
    kvm_userspace_memory_region region{};
    region.guest_phys_addr = kCodeAddress;
    region.memory_size = kPage;
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
    TRY(set_registers(vcpu.get()));

    const uint64_t begin = monotonic_ns();
    int result = 0;
    do {
        result = ::ioctl(vcpu.get(), KVM_RUN, 0);
    } while (result < 0 && errno == EINTR && monotonic_ns() - begin < 5'000'000'000);
    probe.loop_ns = monotonic_ns() - begin;
    if (result < 0) return os_error("KVM_RUN");
    const uint32_t reason = static_cast<const kvm_run*>(shared.get())->exit_reason;
    if (reason != KVM_EXIT_HLT) {
        return Error{ErrorCode::kUnsupported,
                     "KVM_RUN: a guest of one page ended with reason " + std::to_string(reason)};
    }
    return probe;
}

}  // namespace drupe::engine
