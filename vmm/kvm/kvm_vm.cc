#include "vmm/kvm/kvm_vm.h"

#include <sys/mman.h>

#include "vmm/kvm/ioctl.h"

namespace drupe {

Status KvmVm::set_tss_addr(uint64_t address) const {
    TRY(kvm_ioctl(fd_.get(), KVM_SET_TSS_ADDR, "KVM_SET_TSS_ADDR", address));
    return ok();
}

Status KvmVm::set_identity_map_addr(uint64_t address) const {
    TRY(kvm_ioctl(fd_.get(), KVM_SET_IDENTITY_MAP_ADDR, "KVM_SET_IDENTITY_MAP_ADDR", &address));
    return ok();
}

Status KvmVm::create_irqchip() const {
    TRY(kvm_ioctl(fd_.get(), KVM_CREATE_IRQCHIP, "KVM_CREATE_IRQCHIP", 0));
    return ok();
}

Status KvmVm::create_pit2() const {
    kvm_pit_config config{};
    config.flags = KVM_PIT_SPEAKER_DUMMY;
    TRY(kvm_ioctl(fd_.get(), KVM_CREATE_PIT2, "KVM_CREATE_PIT2", &config));
    return ok();
}

Status KvmVm::set_memory_region(uint32_t slot, const MemoryRegion& region) const {
    kvm_userspace_memory_region request{};
    request.slot = slot;
    request.guest_phys_addr = region.guest_address;
    request.memory_size = region.size;
    request.userspace_addr = reinterpret_cast<uintptr_t>(region.host);
    TRY(kvm_ioctl(fd_.get(), KVM_SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION", &request));
    return ok();
}

Status KvmVm::ioeventfd(uint64_t address, uint32_t size, std::optional<uint64_t> value, bool port,
                        int eventfd) const {
    kvm_ioeventfd request{};
    request.addr = address;
    request.len = size;
    request.fd = eventfd;
    request.datamatch = value.value_or(0);
    if (value) request.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
    if (port) request.flags |= KVM_IOEVENTFD_FLAG_PIO;
    TRY(kvm_ioctl(fd_.get(), KVM_IOEVENTFD, "KVM_IOEVENTFD", &request));
    return ok();
}

Status KvmVm::irqfd(uint32_t gsi, int eventfd) const {
    kvm_irqfd request{};
    request.fd = static_cast<uint32_t>(eventfd);
    request.gsi = gsi;
    TRY(kvm_ioctl(fd_.get(), KVM_IRQFD, "KVM_IRQFD", &request));
    return ok();
}

Status KvmVm::irq_line(uint32_t gsi, bool level) const {
    kvm_irq_level request{};
    request.irq = gsi;
    request.level = level ? 1 : 0;
    TRY(kvm_ioctl(fd_.get(), KVM_IRQ_LINE, "KVM_IRQ_LINE", &request));
    return ok();
}

Result<KvmVcpu> KvmVm::create_vcpu(uint32_t id, size_t mmap_size) const {
    TRY_ASSIGN(const int raw, kvm_ioctl(fd_.get(), KVM_CREATE_VCPU, "KVM_CREATE_VCPU",
                                        static_cast<unsigned long>(id)));
    Fd fd(raw);
    void* const run = ::mmap(nullptr, mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (run == MAP_FAILED) return os_error("map kvm_run");
    return KvmVcpu(id, std::move(fd), static_cast<std::byte*>(run), mmap_size);
}

}  // namespace drupe
