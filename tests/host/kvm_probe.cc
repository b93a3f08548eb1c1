// Can this machine's /dev/kvm carry a Linux kernel? Answered by running one million rounds of
// ordinary ring-0 code in a 64-bit guest. Hardware virtualisation takes milliseconds; a /dev/kvm
// that emulates ring 0 instruction by instruction would take many seconds and is given up on.
//
// Stands alone (no library of the project): scripts/kvm-probe compiles it before anything else is
// built. Exit status: 0 yes, 1 no (the reason on stdout), 2 the probe itself failed.

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace {

constexpr uint64_t kMemoryBytes = 2 << 20;  // one large page, mapped one to one
constexpr uint64_t kPml4 = 0x1000, kPdpt = 0x2000, kPageDirectory = 0x3000, kCode = 0x4000;
constexpr uint64_t kStackTop = 0x8000;
constexpr int kBatches = 100;  // an exit after each, to look at the clock
constexpr uint32_t kRoundsPerBatch = 10'000;
constexpr double kCpuSecondsLimit = 1.5;
constexpr unsigned kWallSecondsLimit = 30;  // for a KVM_RUN that never returns

[[noreturn]] void no(const char* reason) {
    std::printf("no: %s\n", reason);
    std::exit(1);
}

[[noreturn]] void failed(const char* what) {
    std::printf("the probe failed: %s: %s\n", what, std::strerror(errno));
    std::exit(2);
}

// What a kernel does all the time: interrupt flag, SMAP windows, control registers, the stack.
//   again: mov ecx, rounds
//   loop:  cli; stac; mov rax, cr3; clac; pushfq; popfq; mov rax, cr0; dec ecx; jnz loop
//   out 0x10, al; jmp again
constexpr uint8_t kWithSmap[] = {0xb9, 0x10, 0x27, 0x00, 0x00, 0xfa, 0x0f, 0x01, 0xcb, 0x0f,
                                 0x20, 0xd8, 0x0f, 0x01, 0xca, 0x9c, 0x9d, 0x0f, 0x20, 0xc0,
                                 0xff, 0xc9, 0x75, 0xed, 0xe6, 0x10, 0xeb, 0xe4};
// The same with no-ops for STAC and CLAC, for processors without SMAP.
constexpr uint8_t kWithoutSmap[] = {0xb9, 0x10, 0x27, 0x00, 0x00, 0xfa, 0x0f, 0x1f, 0x00, 0x0f,
                                    0x20, 0xd8, 0x0f, 0x1f, 0x00, 0x9c, 0x9d, 0x0f, 0x20, 0xc0,
                                    0xff, 0xc9, 0x75, 0xed, 0xe6, 0x10, 0xeb, 0xe4};
static_assert(kRoundsPerBatch == 0x2710, "is an immediate of the code above");

// kvm_cpuid2 with room. (In C++ the header's own flexible array adds a byte to its size.)
struct CpuId {
    uint32_t nent;
    uint32_t padding;
    kvm_cpuid_entry2 entries[256];
};
static_assert(offsetof(CpuId, entries) == 8);
constexpr auto kGetSupportedCpuid = _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x05, 8);
constexpr auto kSetCpuid2 = _IOC(_IOC_WRITE, KVMIO, 0x90, 8);

// Gives the vCPU everything that KVM supports; whether SMAP is among it.
bool set_cpuid(int kvm, int vcpu) {
    static CpuId cpuid;
    cpuid.nent = 256;
    if (ioctl(kvm, kGetSupportedCpuid, &cpuid) != 0) failed("KVM_GET_SUPPORTED_CPUID");
    if (ioctl(vcpu, kSetCpuid2, &cpuid) != 0) failed("KVM_SET_CPUID2");
    for (uint32_t i = 0; i < cpuid.nent; ++i) {
        if (cpuid.entries[i].function == 7 && cpuid.entries[i].index == 0) {
            return (cpuid.entries[i].ebx & (1U << 20)) != 0;
        }
    }
    return false;
}

void set_long_mode(int vcpu, bool smap) {
    kvm_sregs sregs{};
    if (ioctl(vcpu, KVM_GET_SREGS, &sregs) != 0) failed("KVM_GET_SREGS");
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
    if (ioctl(vcpu, KVM_SET_SREGS, &sregs) != 0) failed("KVM_SET_SREGS");
    kvm_regs regs{};
    regs.rip = kCode;
    regs.rsp = kStackTop;
    regs.rflags = 2;
    if (ioctl(vcpu, KVM_SET_REGS, &regs) != 0) failed("KVM_SET_REGS");
}

void write_guest_memory(uint8_t* memory, bool smap) {
    const uint64_t pml4 = kPdpt | 3, pdpt = kPageDirectory | 3,
                   page = 0x83;  // present, writable, large
    std::memcpy(memory + kPml4, &pml4, sizeof(pml4));
    std::memcpy(memory + kPdpt, &pdpt, sizeof(pdpt));
    std::memcpy(memory + kPageDirectory, &page, sizeof(page));
    std::memcpy(memory + kCode, smap ? kWithSmap : kWithoutSmap, sizeof(kWithSmap));
}

double cpu_seconds() {
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

}  // namespace

int main() {
    const int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0) no(errno == ENOENT ? "there is no /dev/kvm" : std::strerror(errno));
    if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
        no("/dev/kvm isn't version 12 of KVM's API");
    const int vm = ioctl(kvm, KVM_CREATE_VM, 0UL);
    if (vm < 0) no("no VM can be created");
    void* memory =
        mmap(nullptr, kMemoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) failed("mmap");
    kvm_userspace_memory_region region{};
    region.memory_size = kMemoryBytes;
    region.userspace_addr = reinterpret_cast<uint64_t>(memory);
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) != 0) failed("KVM_SET_USER_MEMORY_REGION");
    const int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0UL);
    if (vcpu < 0) failed("KVM_CREATE_VCPU");
    const int run_bytes = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    void* shared =
        mmap(nullptr, static_cast<size_t>(run_bytes), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (shared == MAP_FAILED) failed("mmap of the vCPU");
    const auto* run = static_cast<const kvm_run*>(shared);

    const bool smap = set_cpuid(kvm, vcpu);
    write_guest_memory(static_cast<uint8_t*>(memory), smap);
    set_long_mode(vcpu, smap);

    alarm(kWallSecondsLimit);
    const double started = cpu_seconds();
    for (int batch = 0; batch < kBatches; ++batch) {
        if (ioctl(vcpu, KVM_RUN, 0) != 0) no("KVM_RUN fails on ring-0 code");
        if (run->exit_reason != KVM_EXIT_IO) {
            std::printf("no: ring-0 code ends in exit %u (%s)\n", run->exit_reason,
                        run->exit_reason == KVM_EXIT_INTERNAL_ERROR
                            ? "an instruction it can't emulate"
                            : "not the one asked for");
            return 1;
        }
        if (cpu_seconds() - started > kCpuSecondsLimit) {
            std::printf("no: ring-0 code is emulated (%d of %d batches in %.1f s)\n", batch + 1,
                        kBatches, cpu_seconds() - started);
            return 1;
        }
    }
    std::printf("yes: %d million ring-0 instructions in %.0f ms\n", 9,
                (cpu_seconds() - started) * 1e3);
    return 0;
}
