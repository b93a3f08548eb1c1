#include "monitor/confine/jail.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <string_view>

#include "monitor/confine/empty_network.h"
#include "monitor/confine/jail_child.h"

namespace drupe::confine {
namespace {

constexpr int kMaxTarget = 1024;
constexpr int kStartTimeoutMs = 30'000;

Error invalid(std::string what) {
    return Error{ErrorCode::kInvalid, "jail: " + std::move(what)};
}

Status check(const JailSpec& spec) {
    if (spec.argv.empty()) return invalid("no argv[0]");
    if (spec.uid == 0 || spec.gid == 0) return invalid("uid and gid must not be 0");
    if (spec.executable_fd < 0) return invalid("no executable");
    std::vector<int> targets;
    for (const InheritedFd& fd : spec.fds) {
        if (fd.from < 0 || ::fcntl(fd.from, F_GETFD) < 0)
            return invalid("descriptor " + std::to_string(fd.from) + " isn't open");
        if (fd.to < 0 || fd.to >= kMaxTarget)
            return invalid("descriptor number " + std::to_string(fd.to) + " is out of range");
        targets.push_back(fd.to);
    }
    if (spec.own_process_fd >= kMaxTarget)
        return invalid("descriptor number " + std::to_string(spec.own_process_fd) +
                       " is out of range");
    if (spec.own_process_fd >= 0) targets.push_back(spec.own_process_fd);
    std::sort(targets.begin(), targets.end());
    const auto twice = std::adjacent_find(targets.begin(), targets.end());
    if (twice != targets.end())
        return invalid("descriptor " + std::to_string(*twice) + " is there twice");
    for (int standard = 0; standard <= 2; ++standard)
        if (!std::binary_search(targets.begin(), targets.end(), standard))
            return invalid("descriptor " + std::to_string(standard) + " is missing");
    if (static_cast<uint64_t>(targets.back()) >= spec.limits.open_files)
        return invalid("more descriptors than limits.open_files");
    return ok();
}

/// Limits can be lowered without a capability, not raised.
Result<std::vector<LimitToSet>> plan_limits(const JailLimits& limits) {
    struct Wanted {
        int resource;
        const char* name;
        uint64_t value;
    };
    const Wanted all[] = {
        {RLIMIT_NOFILE, "open files (ulimit -n, LimitNOFILE=)", limits.open_files},
        {RLIMIT_NPROC, "processes (ulimit -u, LimitNPROC=)", limits.processes},
        {RLIMIT_FSIZE, "file size (ulimit -f, LimitFSIZE=)", limits.file_bytes},
        {RLIMIT_MEMLOCK, "locked memory (ulimit -l, LimitMEMLOCK=)", limits.locked_bytes},
        {RLIMIT_STACK, "stack size (ulimit -s, LimitSTACK=)", limits.stack_bytes},
        {RLIMIT_DATA, "data (ulimit -d, LimitDATA=)", limits.data_bytes},
        {RLIMIT_CORE, "core files", 0},
        {RLIMIT_MSGQUEUE, "message queues", 0},
        {RLIMIT_SIGPENDING, "pending signals", 128},
    };
    std::vector<LimitToSet> plan;
    for (const Wanted& wanted : all) {
        rlimit now{};
        if (::getrlimit(static_cast<__rlimit_resource>(wanted.resource), &now) < 0)
            return os_error("jail: getrlimit");
        if (now.rlim_max < wanted.value) {
            return Error{ErrorCode::kLimit, "jail: the limit on " + std::string(wanted.name) +
                                                " is " + std::to_string(now.rlim_max) +
                                                " here, but " + std::to_string(wanted.value) +
                                                " is needed: raise it"};
        }
        plan.push_back({wanted.resource, {wanted.value, wanted.value}});
    }
    return plan;
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
    std::vector<char*> list;
    list.reserve(strings.size() + 1);
    for (const std::string& text : strings) list.push_back(const_cast<char*>(text.c_str()));
    list.push_back(nullptr);
    return list;
}

const char* describe(JailStep step) {
    switch (step) {
        case JailStep::kWait:
            return "wait for the id maps";
        case JailStep::kSession:
            return "start a session";
        case JailStep::kGroups:
            return "drop supplementary groups";
        case JailStep::kGid:
            return "set the group";
        case JailStep::kUid:
            return "set the user";
        case JailStep::kNoNesting:
            return "forbid user namespaces inside (/proc/sys/user/max_user_namespaces; is "
                   "/proc/sys "
                   "read-only here?)";
        case JailStep::kHostName:
            return "set the host name";
        case JailStep::kOwnProcess:
            return "open /proc/self";
        case JailStep::kPrivateMounts:
            return "make mounts private";
        case JailStep::kEmptyRoot:
            return "mount an empty root (tmpfs; is this inside a container that forbids mounts?)";
        case JailStep::kPivot:
            return "pivot into the empty root (on a host that runs from an initramfs, pivot_root "
                   "can't work: use switch_root)";
        case JailStep::kDetach:
            return "detach the host's root";
        case JailStep::kDescriptors:
            return "arrange descriptors (ulimit -n?)";
        case JailStep::kCloseOthers:
            return "close other descriptors (close_range: Linux 5.9 is needed)";
        case JailStep::kLimits:
            return "set resource limits";
        case JailStep::kSignals:
            return "reset signals";
        case JailStep::kBoundingSet:
            return "drop the capability bounding set";
        case JailStep::kCapabilities:
            return "drop capabilities";
        case JailStep::kNoNewPrivs:
            return "set no_new_privs";
        case JailStep::kExec:
            return "execute the program (is it static, and executable for others?)";
    }
    return "an unknown step";
}

Error clone_error(int error, bool with_cgroup) {
    std::string hint;
    if (error == EPERM) hint = " (root is needed, and a host that allows user namespaces)";
    if (error == ENOSPC) hint = " (is user.max_user_namespaces 0?)";
    if (error == ENOSYS || error == EINVAL)
        hint = " (Linux 5.9 with user, pid, network, ipc and uts namespaces is needed)";
    if (with_cgroup && (error == EBUSY || error == EOPNOTSUPP || error == ENODEV))
        hint = " (the cgroup can't hold processes)";
    return os_error("jail: make a process in new namespaces" + hint, error);
}

/// clone3, as fork: the child goes on here with a copy of everything. Returns 0 there.
pid_t clone_into_namespaces(int cgroup_fd, int& pidfd) {
    clone_args args{};
    args.flags =
        CLONE_PIDFD | CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS;
    args.exit_signal = SIGCHLD;
    args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
    if (cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = static_cast<uint64_t>(cgroup_fd);
    }
    return static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
}

Status write_map(pid_t pid, const char* file, uint32_t id) {
    const std::string path = "/proc/" + std::to_string(pid) + "/" + file;
    const std::string number = std::to_string(id);
    const std::string line = number + " " + number + " 1\n";
    auto map = open_file(path, O_WRONLY);
    if (!map) return std::move(map).error().wrap("jail");
    // One write(2): the kernel takes a map whole or not at all.
    if (::write(map.value().get(), line.data(), line.size()) < 0)
        return os_error("jail: map id " + number + " in " + path + " (root is needed)");
    return ok();
}

/// Field 22; the program's name, field 2, may hold spaces and parentheses.
Result<uint64_t> start_ticks(pid_t pid) {
    TRY_ASSIGN(const std::string stat, read_file("/proc/" + std::to_string(pid) + "/stat", 8192));
    std::string_view rest(stat);
    rest.remove_prefix(std::min(rest.rfind(')') + 1, rest.size()));
    for (int field = 2; field < 22; ++field) {
        const size_t space = rest.find(' ');
        rest.remove_prefix(space == std::string_view::npos ? rest.size() : space + 1);
    }
    uint64_t ticks = 0;
    if (std::from_chars(rest.data(), rest.data() + rest.size(), ticks).ec != std::errc())
        return Error{ErrorCode::kInternal, "jail: /proc/PID/stat has no start time"};
    return ticks;
}

/// Waits until the child has executed its program (the pipe ends) or says what failed.
Status wait_for_exec(int failure_fd) {
    pollfd state{failure_fd, POLLIN, 0};
    int ready = 0;
    do {
        ready = ::poll(&state, 1, kStartTimeoutMs);
    } while (ready < 0 && errno == EINTR);
    if (ready == 0) return Error{ErrorCode::kLimit, "jail: the process doesn't get started"};
    JailFailure failure{};
    const ssize_t n = ::read(failure_fd, &failure, sizeof failure);
    if (n == 0) return ok();
    if (n != static_cast<ssize_t>(sizeof failure)) return os_error("jail: read from the process");
    return os_error(std::string("jail: ") + describe(failure.step), failure.error);
}

/// All signals are blocked while the child still has our handlers.
class SignalsBlocked {
  public:
    SignalsBlocked() {
        sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;
    ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  private:
    sigset_t before_;
};

/// From the id maps to the program's start, as the parent.
Status see_through(pid_t pid, const JailSpec& spec, int go_fd, int failure_fd) {
    TRY(write_map(pid, "gid_map", spec.gid));
    TRY(write_map(pid, "uid_map", spec.uid));
    if (::write(go_fd, "g", 1) != 1) return os_error("jail: write to the process");
    return wait_for_exec(failure_fd);
}

}  // namespace

Result<JailedProcess> launch(const JailSpec& spec) {
    TRY(check(spec));
    TRY_ASSIGN(const std::vector<LimitToSet> limits, plan_limits(spec.limits));
    std::vector<FdMove> moves;
    for (const InheritedFd& fd : spec.fds) moves.push_back({fd.from, fd.to});
    if (spec.own_process_fd >= 0) moves.push_back({kOwnProcess, spec.own_process_fd});
    std::sort(moves.begin(), moves.end(),
              [](const FdMove& a, const FdMove& b) { return a.to < b.to; });
    const std::vector<char*> argv = pointers(spec.argv);
    const std::vector<char*> envp = pointers(spec.env);
    TRY_ASSIGN(FdPair go, make_pipe());
    TRY_ASSIGN(FdPair failure, make_pipe());

    std::vector<int> needed{go.first.get(), failure.second.get(), spec.executable_fd};
    for (const FdMove& move : moves)
        if (move.from != kOwnProcess) needed.push_back(move.from);
    std::sort(needed.begin(), needed.end());
    ChildPlan plan{go.first.get(),
                   failure.second.get(),
                   spec.executable_fd,
                   argv.data(),
                   envp.data(),
                   spec.uid,
                   spec.gid,
                   spec.host_name.c_str(),
                   needed,
                   moves,
                   limits};
    int pidfd = -1;
    pid_t pid = -1;
    int error = 0;
    {
        auto network = EmptyNetwork::enter();
        if (!network) return std::move(network).error().wrap("jail");
        const SignalsBlocked blocked;
        pid = clone_into_namespaces(spec.cgroup_fd, pidfd);
        error = errno;
        if (pid == 0) run_jail_child(plan);
    }
    if (pid < 0) return clone_error(error, spec.cgroup_fd >= 0);
    JailedProcess process{pid, Fd(pidfd), 0};
    failure.second.reset();  // go.first stays: writing to a process that died must not be SIGPIPE

    Status started = see_through(pid, spec, go.second.get(), failure.first.get());
    if (started) {
        auto ticks = start_ticks(pid);
        if (ticks) {
            process.start_ticks = ticks.value();
            return process;
        }
        started = std::move(ticks).error();
    }
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return std::move(started).error();
}

}  // namespace drupe::confine
