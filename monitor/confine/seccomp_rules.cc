#include "monitor/confine/seccomp_rules.h"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "vmm/kvm/kvm_headers.h"

namespace drupe::confine {
namespace {

constexpr uint64_t kInt = 0xffffffff;

Condition is(unsigned argument, uint64_t value) {
    return {argument, kInt, value};
}
Condition without(unsigned argument, uint64_t bits) {
    return {argument, bits, 0};
}
Condition with(unsigned argument, uint64_t bits) {
    return {argument, bits, bits};
}
Condition null(unsigned argument) {
    return {argument, UINT64_MAX, 0};
}

// Everything is set up before the filters: no call here makes an eventfd, a thread, a VM, or an
// executable page, and none names a file, an address or another process.
std::vector<Rule> make_rules() {
    return {
        // Hot first.
        {__NR_ioctl, kV, "enter the guest", {is(1, KVM_RUN)}},
        {__NR_ioctl, kV, "say where a vCPU stopped", {is(1, KVM_GET_REGS)}},
        {__NR_ioctl, kV, "say where a vCPU stopped", {is(1, KVM_GET_SREGS)}},
        {__NR_ioctl, kM, "save a snapshot", {is(1, KVM_CHECK_EXTENSION)}},
        {__NR_ioctl, kM, "save a snapshot", {is(1, KVM_GET_REGS)}},
        {__NR_ioctl, kM, "save a snapshot", {is(1, KVM_GET_SREGS)}},
        {__NR_ioctl, kM, "save a snapshot", {is(1, KVM_GET_XSAVE)}},
        {__NR_ioctl, kM, "save a snapshot", {is(1, KVM_GET_XSAVE2)}},
        {__NR_ioctl, kM, "save a snapshot", {is(1, KVM_GET_XCRS)}},
        {__NR_ioctl, kM, "save a snapshot", {is(1, KVM_GET_DEBUGREGS)}},
        {__NR_ioctl, kM, "save a snapshot", {is(1, KVM_GET_MSRS)}},
        {__NR_ioctl, kM, "save a snapshot", {is(1, KVM_GET_LAPIC)}},
        {__NR_ioctl, kM, "save a snapshot", {is(1, KVM_GET_MP_STATE)}},
        {__NR_ioctl, kM, "save a snapshot", {is(1, KVM_GET_VCPU_EVENTS)}},
        {__NR_ioctl, kM, "save a snapshot", {is(1, KVM_GET_TSC_KHZ)}},
        {__NR_ioctl, kM, "save a snapshot", {is(1, KVM_HAS_DEVICE_ATTR)}},
        {__NR_ioctl, kM, "save a snapshot", {is(1, KVM_GET_DEVICE_ATTR)}},
        {__NR_ioctl, kM, "save a snapshot", {is(1, KVM_GET_IRQCHIP)}},
        {__NR_ioctl, kM, "save a snapshot", {is(1, KVM_GET_PIT2)}},
        {__NR_ioctl, kM, "save a snapshot", {is(1, KVM_GET_CLOCK)}},
        {__NR_ioctl, kM, "idle memory is back: the guest's clock", {is(1, KVM_KVMCLOCK_CTRL)}},
        {__NR_ioctl, kM, "idle memory is back: page faults that ended", {is(1, KVM_SET_MSRS)}},
        {__NR_write, kAll, "eventfds (doorbells, interrupts, posted work), the log line, pipes"},
        {__NR_futex, kAll, "mutexes, condition variables, joining threads"},

        // Event loops and descriptors.
        {__NR_epoll_wait, kMB, "the event loop"},
        {__NR_epoll_pwait, kMB, "the event loop, in other C libraries"},
        {__NR_epoll_ctl, kMB, "watch a descriptor"},
        {__NR_read, kMBR, "eventfds, pipes"},
        {__NR_readv, kMB, "streams"},
        {__NR_writev, kMB, "streams"},
        {__NR_close, kMBR, "a stream or disk that ended"},
        {__NR_poll, kM, "has a stream's peer hung up?"},
        {__NR_fcntl, kM, "flags of descriptors taken over", {is(1, F_GETFL)}},
        {__NR_fcntl, kM, "make descriptors taken over non-blocking", {is(1, F_SETFL)}},
        {__NR_fcntl, kM, "flags of descriptors taken over", {is(1, F_GETFD)}},
        {__NR_fcntl, kM, "duplicate a log or stream", {is(1, F_DUPFD_CLOEXEC)}},
        {__NR_fstat, kMBR, "size and kind of files"},
        {__NR_newfstatat, kMBR, "fstat(3) of glibc", {is(3, AT_EMPTY_PATH)}},

        // Files. The ring was set up before, and takes only reads, writes and syncs.
        {__NR_io_uring_enter,
         kB,
         "disks",
         {without(3, kInt & ~uint64_t{IORING_ENTER_GETEVENTS}), null(4)}},
        {__NR_pread64, kMBR, "disks, KVM's statistics, pagemap"},
        {__NR_preadv, kMBR, "disks"},
        {__NR_preadv2, kMBR, "preadv(3) of other C libraries"},
        {__NR_pwrite64, kMB, "disks, the exit record"},
        {__NR_pwritev, kMB, "disks"},
        {__NR_pwritev2, kMB, "pwritev(3) of other C libraries"},
        {__NR_fdatasync, kMB, "flush requests"},
        {__NR_fsync, kMB, "closing a disk"},
        {__NR_fallocate, kMB, "discard and write-zeroes"},
        {__NR_ftruncate, kMB, "growing a top, rotating a log"},
        {__NR_lseek, kMBR, "finding data in a sparse top"},

        // Sockets: the control socket, its clients, streams. All are Unix sockets.
        {__NR_listen, kM, "a standby's control socket"},
        {__NR_dup3, kM, "a standby's messages go to its container's log", {is(1, STDOUT_FILENO)}},
        {__NR_dup3, kM, "a standby's messages go to its container's log", {is(1, STDERR_FILENO)}},
        {__NR_accept4, kM, "a client of the control socket"},
        {__NR_getsockopt, kM, "who is it?", {is(1, SOL_SOCKET), is(2, SO_PEERCRED)}},
        {__NR_getsockopt, kM, "what is it?", {is(1, SOL_SOCKET), is(2, SO_TYPE)}},
        {__NR_sendmsg, kM, "replies, streams to the host"},
        {__NR_recvmsg, kM, "requests and their descriptors, streams from the host"},
        {__NR_sendto, kM, "send(3): no address", {null(4)}},
        {__NR_recvfrom, kM, "recv(3): no address", {null(4)}},
        {__NR_shutdown, kM, "half-closed streams"},
        {__NR_socketpair, kM, "a stream's two ends", {is(0, AF_UNIX)}},

        // Memory: never executable.
        {__NR_brk, kAll, "malloc"},
        {__NR_mmap, kMBR, "malloc; a disk's index; idle memory", {without(2, PROT_EXEC)}},
        {__NR_mmap, kV, "malloc", {without(2, PROT_EXEC), with(3, MAP_ANONYMOUS | MAP_PRIVATE)}},
        {__NR_mprotect, kAll, "malloc grows an arena", {without(2, PROT_EXEC)}},
        {__NR_mremap, kAll, "realloc"},
        {__NR_munmap, kAll, "free, a disk's index, a finished thread's stack"},
        {__NR_madvise,
         kAll,
         "free, guest memory and stacks given back, a finished thread's stack",
         {is(2, MADV_DONTNEED)}},
        {__NR_madvise, kM, "idle memory is back", {is(2, MADV_HUGEPAGE)}},
        {__NR_madvise, kM, "idle memory is back", {is(2, MADV_NOHUGEPAGE)}},
        {__NR_madvise, kM, "idle memory is back", {is(2, MADV_DONTDUMP)}},
        {__NR_madvise, kAll, "free of other C libraries", {is(2, MADV_FREE)}},
        {__NR_fadvise64, kM, "idle memory: read its file ahead", {is(3, POSIX_FADV_WILLNEED)}},
        {__NR_mincore, kM, "a snapshot: which pages of RAM were touched"},
        {__NR_getrandom, kM, "virtio-rng"},
        {__NR_sched_getaffinity, kAll, "malloc: how many arenas"},
        // What glibc tries at odd times and can do without: gmtime_r() looks for /etc/localtime,
        // malloc for the host's overcommit setting. The root is empty: this is what it would say.
        {__NR_openat, kAll, "glibc's optional files don't exist", {}, ENOENT},
        {__NR_open, kAll, "glibc's optional files don't exist", {}, ENOENT},

        // Time: where the vDSO can't be used.
        {__NR_clock_gettime, kAll, "clocks"},
        {__NR_gettimeofday, kAll, "clocks"},
        {__NR_time, kAll, "clocks"},

        // A snapshot's writer: a copy of this process, never a thread or a program.
        {__NR_clone,
         kM,
         "write a snapshot while the machine goes on",
         {is(0, CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD)}},
        {__NR_set_robust_list, kM, "fork(3)"},
        {__NR_close_range, kM, "what a snapshot's writer doesn't need"},

        // Signals, and the end.
        {__NR_rt_sigreturn, kAll, "return from the kick's handler"},
        {__NR_rt_sigprocmask, kAll, "pthread_kill, abort, a thread's end"},
        {__NR_rt_sigaction, kAll, "abort", {is(0, SIGABRT)}},
        {__NR_tgkill, kAll, "kick a vCPU, abort", {is(0, kOwnProcess)}},
        {__NR_getpid, kAll, "pthread_kill, abort"},
        {__NR_gettid, kAll, "abort"},
        {__NR_restart_syscall, kAll, "a wait that a stop signal interrupted"},
        {__NR_sched_yield, kAll, "std::atomic::wait"},
        {__NR_exit, kAll, "a thread's end"},
        {__NR_exit_group, kAll, "the process's end"},
    };
}

}  // namespace

std::span<const Rule> seccomp_rules() {
    static const std::vector<Rule> rules = make_rules();
    return rules;
}

}  // namespace drupe::confine
