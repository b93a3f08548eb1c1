#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "vmm/kvm/kvm_headers.h"
#include "vmm/kvm/kvm_vcpu.h"
#include "vmm/memory/guest_memory.h"

namespace drupe {

/// A KVM machine's descriptor: one function per ioctl, errors named after it.
class KvmVm {
  public:
    explicit KvmVm(Fd fd) : fd_(std::move(fd)) {}

    /// Three pages of guest-physical addresses below 4 GiB where no RAM is.
    [[nodiscard]] Status set_tss_addr(uint64_t address) const;
    /// One page likewise. Before the first vCPU.
    [[nodiscard]] Status set_identity_map_addr(uint64_t address) const;
    /// Both PICs, the IOAPIC and (in later vCPUs) local APICs in the kernel.
    [[nodiscard]] Status create_irqchip() const;
    /// The timer in the kernel, with port 0x61 answered there too.
    [[nodiscard]] Status create_pit2() const;

    /// Makes the region's host mapping RAM of the guest. The mapping must outlive the machine.
    /// Again for the same slot: only switches log_dirty (KVM_MEM_LOG_DIRTY_PAGES).
    [[nodiscard]] Status set_memory_region(uint32_t slot, const MemoryRegion& region,
                                           bool log_dirty = false) const;
    /// KVM_GET_DIRTY_LOG: a bit for each 4 KiB page of the slot that a vCPU or KVM itself (not this
    /// process!) wrote since the last call. Only while the slot logs.
    [[nodiscard]] Result<std::vector<uint64_t>> dirty_log(uint32_t slot, uint64_t slot_bytes) const;

    /// Writes of `size` bytes (1, 2, 4, 8) to `address` (a port if `port`), of only `value` if set,
    /// ring the eventfd.
    [[nodiscard]] Status ioeventfd(uint64_t address, uint32_t size, std::optional<uint64_t> value,
                                   bool port, int eventfd) const;
    /// The eventfd raises and lowers a line.
    [[nodiscard]] Status irqfd(uint32_t gsi, int eventfd) const;
    [[nodiscard]] Status irq_line(uint32_t gsi, bool level) const;

    /// chip_id: KVM_IRQCHIP_PIC_MASTER, _PIC_SLAVE or _IOAPIC.
    [[nodiscard]] Result<kvm_irqchip> irqchip(uint32_t chip_id) const;
    [[nodiscard]] Status set_irqchip(const kvm_irqchip& chip) const;
    [[nodiscard]] Result<kvm_pit_state2> pit2() const;
    [[nodiscard]] Status set_pit2(const kvm_pit_state2& pit) const;
    /// kvmclock.
    [[nodiscard]] Result<kvm_clock_data> clock() const;
    [[nodiscard]] Status set_clock(const kvm_clock_data& clock) const;

    /// KVM_CHECK_EXTENSION for this machine: 0 if the host doesn't have it.
    [[nodiscard]] int capability(int number) const;
    /// The bytes of an XSAVE state of its vCPUs (KVM_CAP_XSAVE2; 4 KiB on hosts before it).
    [[nodiscard]] size_t xsave_size() const;

    [[nodiscard]] Result<KvmVcpu> create_vcpu(uint32_t id, size_t mmap_size) const;

    [[nodiscard]] int fd() const { return fd_.get(); }

  private:
    Fd fd_;
};

}  // namespace drupe
