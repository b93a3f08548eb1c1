#include "vmm/kvm/kvm_vm.h"

#include <sys/mman.h>

#include <algorithm>

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

Status KvmVm::set_memory_region(uint32_t slot, const MemoryRegion& region, bool log_dirty) const {
    kvm_userspace_memory_region request{};
    request.slot = slot;
    request.flags = log_dirty ? KVM_MEM_LOG_DIRTY_PAGES : 0;
    request.guest_phys_addr = region.guest_address;
    request.memory_size = region.size;
    request.userspace_addr = reinterpret_cast<uintptr_t>(region.host);
    TRY(kvm_ioctl(fd_.get(), KVM_SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION", &request));
    return ok();
}

Result<std::vector<uint64_t>> KvmVm::dirty_log(uint32_t slot, uint64_t slot_bytes) const {
    constexpr uint64_t kBytesAWord = 64 * 4096;
    std::vector<uint64_t> bitmap((slot_bytes + kBytesAWord - 1) / kBytesAWord);
    kvm_dirty_log request{};
    request.slot = slot;
    request.dirty_bitmap = bitmap.data();
    TRY(kvm_ioctl(fd_.get(), KVM_GET_DIRTY_LOG, "KVM_GET_DIRTY_LOG", &request));
    return bitmap;
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

Result<kvm_irqchip> KvmVm::irqchip(uint32_t chip_id) const {
    kvm_irqchip chip{};
    chip.chip_id = chip_id;
    TRY(kvm_ioctl(fd_.get(), KVM_GET_IRQCHIP, "KVM_GET_IRQCHIP", &chip));
    return chip;
}

Status KvmVm::set_irqchip(const kvm_irqchip& chip) const {
    TRY(kvm_ioctl(fd_.get(), KVM_SET_IRQCHIP, "KVM_SET_IRQCHIP", &chip));
    return ok();
}

Result<kvm_pit_state2> KvmVm::pit2() const {
    kvm_pit_state2 pit{};
    TRY(kvm_ioctl(fd_.get(), KVM_GET_PIT2, "KVM_GET_PIT2", &pit));
    return pit;
}

Status KvmVm::set_pit2(const kvm_pit_state2& pit) const {
    TRY(kvm_ioctl(fd_.get(), KVM_SET_PIT2, "KVM_SET_PIT2", &pit));
    return ok();
}

Result<kvm_clock_data> KvmVm::clock() const {
    kvm_clock_data clock{};
    TRY(kvm_ioctl(fd_.get(), KVM_GET_CLOCK, "KVM_GET_CLOCK", &clock));
    return clock;
}

Status KvmVm::set_clock(const kvm_clock_data& clock) const {
    TRY(kvm_ioctl(fd_.get(), KVM_SET_CLOCK, "KVM_SET_CLOCK", &clock));
    return ok();
}

int KvmVm::capability(int number) const {
    const int value = ::ioctl(fd_.get(), KVM_CHECK_EXTENSION, number);
    return value < 0 ? 0 : value;
}

size_t KvmVm::xsave_size() const {
    return std::max(sizeof(kvm_xsave), static_cast<size_t>(capability(KVM_CAP_XSAVE2)));
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
