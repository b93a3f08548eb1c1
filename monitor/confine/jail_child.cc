#include "monitor/confine/jail_child.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/fd.h"

namespace drupe::confine {
namespace {

// Any directory that every host has: the new root is mounted on it, in our own namespace.
constexpr const char* kMountPoint = "/proc";

[[noreturn]] void fail(const ChildPlan& plan, JailStep step) {
    const JailFailure failure{step, errno};
    [[maybe_unused]] const ssize_t n = ::write(plan.failure_fd, &failure, sizeof failure);
    ::_exit(126);
}

/// At once: while a child waits for its parent's word, what it has of the parent's would outlive a
/// parent that is killed: its locks, its ends of sockets, and of the pipes of other children.
void close_unneeded(const ChildPlan& plan) {
    if (!close_all_but(plan.needed)) fail(plan, JailStep::kCloseOthers);
}

void wait_for_parent(const ChildPlan& plan) {
    char byte = 0;
    ssize_t n = 0;
    do {
        n = ::read(plan.go_fd, &byte, 1);
    } while (n < 0 && errno == EINTR);
    if (n == 0) ::_exit(126);
    if (n < 0) fail(plan, JailStep::kWait);
}

// The C library's wrappers would tell other threads' copies about it, which don't exist here.
void become_user(const ChildPlan& plan) {
    if (::syscall(SYS_setgroups, 0, nullptr) < 0) fail(plan, JailStep::kGroups);
    if (::syscall(SYS_setresgid, plan.gid, plan.gid, plan.gid) < 0) fail(plan, JailStep::kGid);
    if (::syscall(SYS_setresuid, plan.uid, plan.uid, plan.uid) < 0) fail(plan, JailStep::kUid);
}

/// In a user namespace of its own making, a process has all capabilities again, and with them the
/// kernel's whole surface. This one's processes can make none.
void forbid_nested_namespaces(const ChildPlan& plan) {
    const int fd = ::open("/proc/sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || ::write(fd, "0", 1) != 1) fail(plan, JailStep::kNoNesting);
    ::close(fd);
}

void open_own_process(const ChildPlan& plan) {
    for (FdMove& move : plan.moves) {
        if (move.from != kOwnProcess) continue;
        move.from = ::open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (move.from < 0) fail(plan, JailStep::kOwnProcess);
    }
}

void enter_empty_root(const ChildPlan& plan) {
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0)
        fail(plan, JailStep::kPrivateMounts);
    if (::mount("drupe", kMountPoint, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                "size=4096,nr_inodes=1,mode=0555") < 0 ||
        ::chdir(kMountPoint) < 0)
        fail(plan, JailStep::kEmptyRoot);
    // The old root ends up on top of the new one, where it is taken off (pivot_root(2), NOTES).
    if (::syscall(SYS_pivot_root, ".", ".") < 0) fail(plan, JailStep::kPivot);
    if (::umount2(".", MNT_DETACH) < 0 || ::chdir("/") < 0) fail(plan, JailStep::kDetach);
}

/// Puts the descriptors where they belong and closes all others. failure_fd and executable_fd stay,
/// above all targets, until they are closed by exec.
void arrange_descriptors(ChildPlan& plan) {
    const int above = plan.moves.empty() ? 0 : plan.moves.back().to + 1;
    const auto lift = [&](int& fd) {
        fd = ::fcntl(fd, F_DUPFD_CLOEXEC, above);
        if (fd < 0) fail(plan, JailStep::kDescriptors);
    };
    int failure_fd = plan.failure_fd;
    lift(failure_fd);
    plan.failure_fd = failure_fd;
    lift(plan.executable_fd);
    for (FdMove& move : plan.moves) lift(move.from);
    for (const FdMove& move : plan.moves)
        if (::dup2(move.from, move.to) < 0) fail(plan, JailStep::kDescriptors);

    const auto close_between = [&](int first, int end) {
        if (first < end && ::syscall(SYS_close_range, first, end - 1, 0) < 0)
            fail(plan, JailStep::kCloseOthers);
    };
    int next = 0;
    for (const FdMove& move : plan.moves) {
        close_between(next, move.to);
        next = move.to + 1;
    }
    // The two that stay were lifted first, so the lower is failure_fd.
    close_between(next, plan.failure_fd);
    close_between(plan.failure_fd + 1, plan.executable_fd);
    if (::syscall(SYS_close_range, plan.executable_fd + 1, ~0U, 0) < 0)
        fail(plan, JailStep::kCloseOthers);
}

void reset_signals(const ChildPlan& plan) {
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    for (int signal = 1; signal < NSIG; ++signal) {
        // The C library keeps two for itself and refuses them; they can't be ignored either.
        if (signal != SIGKILL && signal != SIGSTOP) ::sigaction(signal, &action, nullptr);
    }
    sigset_t none;
    ::sigemptyset(&none);
    if (::sigprocmask(SIG_SETMASK, &none, nullptr) < 0) fail(plan, JailStep::kSignals);
}

void drop_capabilities(const ChildPlan& plan) {
    for (int capability = 0;; ++capability) {
        if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0) continue;
        if (errno == EINVAL && capability > 0) break;  // past the last one that the kernel knows
        fail(plan, JailStep::kBoundingSet);
    }
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        fail(plan, JailStep::kCapabilities);
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
    if (::syscall(SYS_capset, &header, none) < 0) fail(plan, JailStep::kCapabilities);
}

}  // namespace

void run_jail_child(ChildPlan plan) {
    close_unneeded(plan);
    wait_for_parent(plan);
    if (::setsid() < 0) fail(plan, JailStep::kSession);
    ::umask(077);
    become_user(plan);
    forbid_nested_namespaces(plan);
    if (::sethostname(plan.host_name, std::strlen(plan.host_name)) < 0)
        fail(plan, JailStep::kHostName);
    open_own_process(plan);
    enter_empty_root(plan);
    arrange_descriptors(plan);
    for (const LimitToSet& limit : plan.limits)
        if (::syscall(SYS_setrlimit, limit.resource, &limit.value) < 0)
            fail(plan, JailStep::kLimits);
    reset_signals(plan);
    drop_capabilities(plan);
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) fail(plan, JailStep::kNoNewPrivs);
    ::syscall(SYS_execveat, plan.executable_fd, "", plan.argv, plan.envp, AT_EMPTY_PATH);
    fail(plan, JailStep::kExec);
}

}  // namespace drupe::confine
