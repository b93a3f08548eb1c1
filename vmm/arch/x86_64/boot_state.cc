#include "vmm/arch/x86_64/boot_state.h"

#include <array>
#include <cstring>

#include "base/check.h"
#include "vmm/arch/x86_64/layout.h"

namespace drupe::arch {
namespace {

constexpr uint32_t kMsrMiscEnable = 0x1a0;
constexpr uint64_t kFastStrings = 1;
constexpr uint32_t kMsrMtrrDefaultType = 0x2ff;
constexpr uint64_t kMtrrWriteBack =
    1 << 11 | 6;  // enabled; what no other MTRR covers is write-back

constexpr size_t kLvtLint0 = 0x350;
constexpr size_t kLvtLint1 = 0x360;
constexpr uint32_t kDeliverExternal = 7 << 8;
constexpr uint32_t kDeliverNmi = 4 << 8;

constexpr uint16_t kFpuControl = 0x37f;
constexpr uint32_t kMxcsr = 0x1f80;

constexpr uint16_t kCode32 = 0x08;
constexpr uint16_t kCode64 = 0x10;  // __BOOT_CS
constexpr uint16_t kData = 0x18;    // __BOOT_DS
constexpr std::array<uint64_t, 4> kGdtEntries = {
    0,
    0x00cf9b000000ffff,  // 32-bit code, flat
    0x00af9b000000ffff,  // 64-bit code
    0x00cf93000000ffff,  // data, flat
};

constexpr uint64_t kCr0Pe = 1;
constexpr uint64_t kCr0Et = 1 << 4;
constexpr uint64_t kCr0Pg = 1ULL << 31;
constexpr uint64_t kCr4Pae = 1 << 5;
constexpr uint64_t kEferLme = 1 << 8;
constexpr uint64_t kEferLma = 1 << 10;
constexpr uint64_t kRflagsFixed = 2;

kvm_segment code_segment(uint16_t selector, bool is_64bit) {
    kvm_segment segment{};
    segment.limit = UINT32_MAX;
    segment.selector = selector;
    segment.type = 0xb;  // execute, read, accessed
    segment.present = 1;
    segment.s = 1;
    segment.l = is_64bit ? 1 : 0;
    segment.db = is_64bit ? 0 : 1;
    segment.g = 1;
    return segment;
}

kvm_segment data_segment() {
    kvm_segment segment = code_segment(kData, false);
    segment.type = 0x3;  // read, write, accessed
    return segment;
}

kvm_segment task_segment() {
    kvm_segment segment{};
    segment.limit = 0x67;
    segment.type = 0xb;  // busy 32/64-bit TSS
    segment.present = 1;
    return segment;
}

}  // namespace

Status set_initial_state(const KvmVcpu& vcpu, uint64_t xcr0) {
    if (xcr0 != 0) {
        TRY(vcpu.set_xcr0(xcr0));
    }
    kvm_fpu fpu{};
    fpu.fcw = kFpuControl;
    fpu.mxcsr = kMxcsr;
    TRY(vcpu.set_fpu(fpu));

    std::array<kvm_msr_entry, 2> msrs{};
    msrs[0].index = kMsrMiscEnable;
    msrs[0].data = kFastStrings;
    msrs[1].index = kMsrMtrrDefaultType;
    msrs[1].data = kMtrrWriteBack;
    TRY(vcpu.set_msrs(msrs));

    TRY_ASSIGN(kvm_lapic_state lapic, vcpu.lapic());
    std::memcpy(lapic.regs + kLvtLint0, &kDeliverExternal, sizeof kDeliverExternal);
    std::memcpy(lapic.regs + kLvtLint1, &kDeliverNmi, sizeof kDeliverNmi);
    return vcpu.set_lapic(lapic);
}

Status write_boot_tables(const GuestMemory& memory) {
    constexpr uint64_t kPresentWrite = 0x3;
    constexpr uint64_t kHugePage = 0x80;
    constexpr uint64_t kPage = 0x1000;
    constexpr size_t kDirectories = 4;
    constexpr size_t kEntries = 512;

    std::array<uint64_t, kEntries*(2 + kDirectories)> tables{};
    tables[0] = (kPageTables + kPage) | kPresentWrite;
    for (size_t i = 0; i < kDirectories; ++i)
        tables[kEntries + i] = (kPageTables + (2 + i) * kPage) | kPresentWrite;
    for (size_t i = 0; i < kDirectories * kEntries; ++i)
        tables[2 * kEntries + i] = i << 21 | kHugePage | kPresentWrite;
    static_assert(kPageTables + sizeof tables <= kCmdline);

    if (!memory.write(kPageTables, tables) || !memory.write(kGdt, kGdtEntries))
        return Error{ErrorCode::kLimit, "the machine has too little memory for its boot tables"};
    return ok();
}

Status set_boot_registers(const KvmVcpu& vcpu, BootProtocol protocol, uint64_t entry) {
    const bool is_64bit = protocol == BootProtocol::kLinux64;
    TRY_ASSIGN(kvm_sregs sregs, vcpu.sregs());
    sregs.cs = code_segment(is_64bit ? kCode64 : kCode32, is_64bit);
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data_segment();
    sregs.tr = task_segment();
    sregs.gdt.base = kGdt;
    sregs.gdt.limit = sizeof kGdtEntries - 1;
    sregs.idt.base = 0;
    sregs.idt.limit = 0;  // any fault before the kernel has its own ends the machine
    sregs.cr0 = kCr0Pe | kCr0Et;
    sregs.cr4 = 0;
    sregs.efer = 0;
    if (is_64bit) {
        sregs.cr0 |= kCr0Pg;
        sregs.cr3 = kPageTables;
        sregs.cr4 = kCr4Pae;
        sregs.efer = kEferLme | kEferLma;
    }
    TRY(vcpu.set_sregs(sregs));

    kvm_regs regs{};
    regs.rflags = kRflagsFixed;
    regs.rip = entry;
    if (is_64bit) {
        regs.rsi = kBootParams;
        regs.rsp = kBootStackTop;
    } else {
        regs.rbx = kPvhStartInfo;
    }
    return vcpu.set_regs(regs);
}

}  // namespace drupe::arch
