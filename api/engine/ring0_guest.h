#pragma once

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>

/// A 64-bit guest that does what a kernel does all the time, and how much processor time it may
/// take. Hardware virtualisation takes milliseconds; a /dev/kvm that emulates ring 0 instruction by
/// instruction would take many seconds and is given up on. Real time is no measure: a host that is
/// emulated itself has little of it.
///
/// Stands alone (no library of the project): scripts/kvm-probe compiles it before anything else is
/// built.
namespace drupe::ring0 {

inline constexpr uint64_t kMemoryBytes = 2 << 20;  // one large page, mapped one to one
inline constexpr uint64_t kPml4 = 0x1000, kPdpt = 0x2000, kPageDirectory = 0x3000, kCode = 0x4000;
inline constexpr uint64_t kStackTop = 0x8000;
inline constexpr int kBatches = 100;  // an exit after each, to look at the clock
inline constexpr uint32_t kRoundsPerBatch = 10'000;
inline constexpr int kMillionInstructions = 9;  // of all batches
inline constexpr double kCpuSecondsLimit = 1.5;

// What a kernel does all the time: interrupt flag, SMAP windows, control registers, the stack.
//   again: mov ecx, rounds
//   loop:  cli; stac; mov rax, cr3; clac; pushfq; popfq; mov rax, cr0; dec ecx; jnz loop
//   out 0x10, al; jmp again
inline constexpr uint8_t kWithSmap[] = {0xb9, 0x10, 0x27, 0x00, 0x00, 0xfa, 0x0f, 0x01, 0xcb, 0x0f,
                                        0x20, 0xd8, 0x0f, 0x01, 0xca, 0x9c, 0x9d, 0x0f, 0x20, 0xc0,
                                        0xff, 0xc9, 0x75, 0xed, 0xe6, 0x10, 0xeb, 0xe4};
// The same with no-ops for STAC and CLAC, for processors without SMAP.
inline constexpr uint8_t kWithoutSmap[] = {
    0xb9, 0x10, 0x27, 0x00, 0x00, 0xfa, 0x0f, 0x1f, 0x00, 0x0f, 0x20, 0xd8, 0x0f, 0x1f,
    0x00, 0x9c, 0x9d, 0x0f, 0x20, 0xc0, 0xff, 0xc9, 0x75, 0xed, 0xe6, 0x10, 0xeb, 0xe4};
static_assert(kRoundsPerBatch == 0x2710, "is an immediate of the code above");

// kvm_cpuid2 with room. (In C++ the header's own flexible array adds a byte to its size.)
struct CpuId {
    uint32_t nent;
    uint32_t padding;
    kvm_cpuid_entry2 entries[256];
};
static_assert(offsetof(CpuId, entries) == 8);
inline constexpr auto kGetSupportedCpuid = _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x05, 8);
inline constexpr auto kSetCpuid2 = _IOC(_IOC_WRITE, KVMIO, 0x90, 8);

/// Gives the vCPU everything that KVM supports, and says whether SMAP is among it. nullptr, or the
/// ioctl that failed.
inline const char* set_cpuid(int kvm, int vcpu, bool& smap) {
    static CpuId cpuid;
    cpuid.nent = 256;
    if (ioctl(kvm, kGetSupportedCpuid, &cpuid) != 0) return "KVM_GET_SUPPORTED_CPUID";
    if (ioctl(vcpu, kSetCpuid2, &cpuid) != 0) return "KVM_SET_CPUID2";
    smap = false;
    for (uint32_t i = 0; i < cpuid.nent; ++i) {
        const kvm_cpuid_entry2& entry = cpuid.entries[i];
        if (entry.function == 7 && entry.index == 0) smap = (entry.ebx & (1U << 20)) != 0;
    }
    return nullptr;
}

inline const char* set_long_mode(int vcpu, bool smap) {
    kvm_sregs sregs{};
    if (ioctl(vcpu, KVM_GET_SREGS, &sregs) != 0) return "KVM_GET_SREGS";
    kvm_segment code{};
    code.limit = 0xffffffff;
    code.selector = 0x8;
    code.type = 11;
    code.present = code.s = code.l = code.g = 1;
    kvm_segment data = code;
    data.selector = 0x10;
    data.type = 3;
    data.l = 0;
    data.db = 1;
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.cr3 = kPml4;
    sregs.cr4 = (1U << 5) | (smap ? 1U << 21 : 0);  // PAE, SMAP
    sregs.cr0 = 0x80010033;                         // PG, WP, NE, ET, MP, PE
    sregs.efer = 0x500;                             // LMA, LME
    if (ioctl(vcpu, KVM_SET_SREGS, &sregs) != 0) return "KVM_SET_SREGS";
    kvm_regs regs{};
    regs.rip = kCode;
    regs.rsp = kStackTop;
    regs.rflags = 2;
    if (ioctl(vcpu, KVM_SET_REGS, &regs) != 0) return "KVM_SET_REGS";
    return nullptr;
}

/// Writes the guest into kMemoryBytes at its address 0, and sets the vCPU to its start. nullptr, or
/// the ioctl that failed.
inline const char* prepare(int kvm, int vcpu, void* guest_memory) {
    bool smap = false;
    if (const char* failed = set_cpuid(kvm, vcpu, smap)) return failed;
    auto* const memory = static_cast<uint8_t*>(guest_memory);
    const uint64_t pml4 = kPdpt | 3, pdpt = kPageDirectory | 3,
                   page = 0x83;  // present, writable, large
    std::memcpy(memory + kPml4, &pml4, sizeof(pml4));
    std::memcpy(memory + kPdpt, &pdpt, sizeof(pdpt));
    std::memcpy(memory + kPageDirectory, &page, sizeof(page));
    std::memcpy(memory + kCode, smap ? kWithSmap : kWithoutSmap, sizeof(kWithSmap));
    return set_long_mode(vcpu, smap);
}

inline double cpu_seconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

/// How far the guest came.
struct Run {
    int batches = 0;  ///< kBatches: it carries kernels.
    double cpu_seconds = 0;
    int os_errno = 0;          ///< KVM_RUN failed.
    uint32_t exit_reason = 0;  ///< Of the last KVM_RUN; KVM_EXIT_IO is the one that was asked for.
    [[nodiscard]] bool carries_kernels() const {
        return batches == kBatches && cpu_seconds <= kCpuSecondsLimit;
    }
};

inline Run measure(int vcpu, const kvm_run& shared) {
    Run run;
    const double started = cpu_seconds();
    while (run.batches < kBatches && run.cpu_seconds <= kCpuSecondsLimit) {
        const int result = ioctl(vcpu, KVM_RUN, 0);
        run.cpu_seconds = cpu_seconds() - started;
        if (result != 0 && errno == EINTR) continue;
        run.os_errno = result != 0 ? errno : 0;
        run.exit_reason = shared.exit_reason;
        if (result != 0 || run.exit_reason != KVM_EXIT_IO) break;
        ++run.batches;
    }
    return run;
}

}  // namespace drupe::ring0
