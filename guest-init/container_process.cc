#include "guest-init/container_process.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>

#include "base/codec.h"
#include "guest-init/builtin.h"
#include "guest-init/capabilities.h"
#include "guest-init/mounts.h"
#include "guest-init/program_path.h"
#include "guest-init/users.h"
#include "guest-init/workload_init.h"
#include "guest-init/workload_mounts.h"

namespace drupe::init {
namespace {

constexpr size_t kMaxDatabase = 8 << 20;  // of /etc/passwd and /etc/group

Status enter_namespaces(const protocol::Start& order, const SpawnPlace& place) {
    TRY(place.cgroup->enter());
    if (place.join_pidfd >= 0) {
        if (::setns(place.join_pidfd, CLONE_NEWNS | CLONE_NEWCGROUP) < 0)
            return os_error("join the container");
        return ok();
    }
    if (::unshare(CLONE_NEWNS | CLONE_NEWCGROUP) < 0) return os_error("new namespaces");
    TRY(mount_for_workload());
    return set_up_workload(order);
}

Status set_stdio(const protocol::Start& order, const std::array<int, 3>& stdio) {
    if (::setsid() < 0) return os_error("setsid");
    if (order.tty && ::ioctl(stdio[0], TIOCSCTTY, 0) < 0) return os_error("take the terminal over");
    for (int fd = 0; fd < 3; ++fd)
        if (::dup2(stdio[static_cast<size_t>(fd)], fd) < 0) return os_error("dup2");
    // Whatever else may be open: none of it is the program's.
    if (::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0) return os_error("close_range");
    return ok();
}

Status set_limits(const protocol::Start& order) {
    for (const protocol::ResourceLimit& limit : order.limits) {
        const rlimit value{.rlim_cur = limit.soft, .rlim_max = limit.hard};
        if (::setrlimit(static_cast<__rlimit_resource>(limit.resource), &value) < 0)
            return os_error("set limit " + std::to_string(limit.resource));
    }
    return ok();
}

Status enter_directory(const protocol::Start& order, bool workload) {
    const std::string cwd = order.cwd.empty() ? "/" : order.cwd;
    if (cwd[0] != '/')
        return Error{ErrorCode::kInvalid, "working directory " + cwd + " isn't absolute", EINVAL};
    if (workload) {
        TRY(make_directories(cwd, 0755));
    }
    if (::chdir(cwd.c_str()) < 0) return os_error("chdir to cwd (\"" + cwd + "\")");
    return ok();
}

std::string database(const char* path) {
    auto text = read_file(path, kMaxDatabase);
    return text ? std::move(text).value() : std::string();
}

Status become_user(const Credentials& who, const protocol::Start& order) {
    const bool tty = order.tty;
    // So that the program can open /dev/stdout anew. Not /dev/null, which is everybody's.
    for (int fd = 0; fd < 3; ++fd) {
        struct stat status {};
        if (::fstat(fd, &status) < 0 || (S_ISCHR(status.st_mode) && !tty)) continue;
        [[maybe_unused]] const int ignored =
            ::fchown(fd, who.uid, tty ? static_cast<gid_t>(-1) : who.gid);
    }
    TRY(limit_capabilities(order.capabilities));
    if (::setgroups(who.groups.size(), who.groups.data()) < 0) return os_error("setgroups");
    if (::setresgid(who.gid, who.gid, who.gid) < 0) return os_error("setgid");
    if (::setresuid(who.uid, who.uid, who.uid) < 0) return os_error("setuid");
    return drop_capabilities(order.capabilities);
}

void reset_signals() {
    for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
    std::vector<char*> list;
    list.reserve(strings.size() + 1);
    for (std::string& string : strings) list.push_back(string.data());
    list.push_back(nullptr);
    return list;
}

/// Returns only if it failed.
Status run(const protocol::Start& order, const SpawnPlace& place, const std::array<int, 3>& stdio) {
    TRY(enter_namespaces(order, place));
    TRY(set_stdio(order, stdio));
    if (order.builtin != protocol::Builtin::kNone) {
        if (::chdir("/") < 0) return os_error("chdir to /");
        reset_signals();
        // Nothing is executed that would close what is drupe-init's: other sessions' pipes, say.
        // The report, too, which says that it runs.
        constexpr int kCgroup = 3;
        if (::dup2(place.cgroup->directory(), kCgroup) < 0) return os_error("dup2");
        if (::close_range(kCgroup + 1, ~0U, 0) < 0) return os_error("close_range");
        run_builtin(order, kCgroup);
    }
    TRY(set_limits(order));
    TRY_ASSIGN(const Credentials who, find_user(order.user, order.groups, database("/etc/passwd"),
                                                database("/etc/group")));
    TRY(enter_directory(order, place.join_pidfd < 0));
    TRY(become_user(who, order));
    std::vector<std::string> argv = order.argv;
    std::vector<std::string> env = order.env;
    if (find_variable(env, "HOME") == nullptr) env.push_back("HOME=" + who.home);
    TRY_ASSIGN(const std::string program, find_program(argv[0], env));
    ::umask(order.umask);
    if (order.init && place.join_pidfd < 0) fork_from_init(order.tty);
    reset_signals();
    ::execve(program.c_str(), pointers(argv).data(), pointers(env).data());
    Error error = os_error("exec " + program);
    char& initial = error.message[sizeof "exec : " - 1 + program.size()];
    initial = static_cast<char>(std::tolower(static_cast<unsigned char>(initial)));
    return error;
}

}  // namespace

void become_container_process(const protocol::Start& order, const SpawnPlace& place,
                              const std::array<int, 3>& stdio, int report) {
    // Out of the way of 0 to 2.
    report = ::fcntl(report, F_DUPFD_CLOEXEC, 3);
    const Status failed = run(order, place, stdio);
    Encoder out;
    out.put(static_cast<int32_t>(failed ? 0 : failed.error().os_errno));
    if (!failed) out.put_raw(failed.error().message);
    [[maybe_unused]] const ssize_t ignored =
        ::write(report, out.bytes().data(), out.bytes().size());
    ::_exit(127);
}

}  // namespace drupe::init
