// Can this machine's /dev/kvm carry a Linux kernel? Answered by running one million rounds of
// ordinary ring-0 code in a 64-bit guest, as drupe doctor does.
//
// Stands alone (no library of the project): scripts/kvm-probe compiles it before anything else is
// built. Exit status: 0 yes, 1 no (the reason on stdout), 2 the probe itself failed.

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "api/engine/ring0_guest.h"

namespace {

namespace ring0 = drupe::ring0;

constexpr unsigned kWallSecondsLimit = 30;  // for a KVM_RUN that never returns

[[noreturn]] void no(const char* reason) {
    std::printf("no: %s\n", reason);
    std::exit(1);
}

[[noreturn]] void failed(const char* what) {
    std::printf("the probe failed: %s: %s\n", what, std::strerror(errno));
    std::exit(2);
}

}  // namespace

int main() {
    const int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0) no(errno == ENOENT ? "there is no /dev/kvm" : std::strerror(errno));
    if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
        no("/dev/kvm isn't version 12 of KVM's API");
    const int vm = ioctl(kvm, KVM_CREATE_VM, 0UL);
    if (vm < 0) no("no VM can be created");
    void* memory = mmap(nullptr, ring0::kMemoryBytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) failed("mmap");
    kvm_userspace_memory_region region{};
    region.memory_size = ring0::kMemoryBytes;
    region.userspace_addr = reinterpret_cast<uint64_t>(memory);
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) != 0) failed("KVM_SET_USER_MEMORY_REGION");
    const int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0UL);
    if (vcpu < 0) failed("KVM_CREATE_VCPU");
    const int run_bytes = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    void* shared =
        mmap(nullptr, static_cast<size_t>(run_bytes), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (shared == MAP_FAILED) failed("mmap of the vCPU");
    const auto* run = static_cast<const kvm_run*>(shared);

    if (const char* what = ring0::prepare(kvm, vcpu, memory)) failed(what);

    alarm(kWallSecondsLimit);
    const ring0::Run done = ring0::measure(vcpu, *run);
    if (done.os_errno != 0) no("KVM_RUN fails on ring-0 code");
    if (done.exit_reason != KVM_EXIT_IO) {
        std::printf("no: ring-0 code ends in exit %u (%s)\n", done.exit_reason,
                    done.exit_reason == KVM_EXIT_INTERNAL_ERROR ? "an instruction it can't emulate"
                                                                : "not the one asked for");
        return 1;
    }
    if (!done.carries_kernels()) {
        std::printf("no: ring-0 code is emulated (%d of %d batches in %.1f s)\n", done.batches,
                    ring0::kBatches, done.cpu_seconds);
        return 1;
    }
    std::printf("yes: %d million ring-0 instructions in %.0f ms\n", ring0::kMillionInstructions,
                done.cpu_seconds * 1e3);
    return 0;
}
