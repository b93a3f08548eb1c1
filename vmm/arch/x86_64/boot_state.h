#pragma once

#include <cstdint>

#include "base/result.h"
#include "vmm/boot/kernel_image.h"
#include "vmm/kvm/kvm_vcpu.h"
#include "vmm/memory/guest_memory.h"

namespace drupe::arch {

/// What every CPU has at power-on as firmware would leave it: FPU, memory types, fast strings, and
/// the local APIC's pins (LINT0: external interrupts, LINT1: NMI). After set_cpuid(). xcr0: 0
/// leaves it. A guest sets XCR0 itself; it is preset because a nested host may not intercept XSETBV
/// (QEMU's TCG), and KVM's idea of the size of the state, which the guest reads by CPUID, would
/// stay wrong.
[[nodiscard]] Status set_initial_state(const KvmVcpu& vcpu, uint64_t xcr0);

/// The GDT and the page tables (the first 4 GiB mapped onto themselves) that the entry points want.
[[nodiscard]] Status write_boot_tables(const GuestMemory& memory);

/// The boot CPU's registers at the kernel's first instruction: 64-bit mode with boot_params
/// (Documentation/arch/x86/boot.rst, "64-bit Boot Protocol") or 32-bit protected mode with
/// hvm_start_info (Xen's docs/misc/pvh.pandoc).
[[nodiscard]] Status set_boot_registers(const KvmVcpu& vcpu, BootProtocol protocol, uint64_t entry);

}  // namespace drupe::arch
