#include "guest-init/spawn.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "guest-init/container_process.h"

namespace drupe::init {
namespace {

/// Both ends of a new process's streams.
struct Stdio {
    Fd child[3];
    Spawned ours;
};

Status make_output(Fd& child, Fd& ours) {
    TRY_ASSIGN(FdPair pipe, make_pipe());
    ours = std::move(pipe.first);
    child = std::move(pipe.second);
    return set_nonblocking(ours.get(), true);
}

Status make_tty(const protocol::Start& order, Stdio& stdio) {
    TRY_ASSIGN(stdio.ours.output, open_file("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK));
    const int master = stdio.ours.output.get();
    const int unlock = 0;
    if (::ioctl(master, TIOCSPTLCK, &unlock) < 0) return os_error("unlock the terminal");
    const Fd slave(::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!slave.valid()) return os_error("open the terminal");
    const winsize size{
        .ws_row = order.rows, .ws_col = order.columns, .ws_xpixel = 0, .ws_ypixel = 0};
    if (::ioctl(master, TIOCSWINSZ, &size) < 0) return os_error("set the terminal's size");
    for (Fd& fd : stdio.child) {
        TRY_ASSIGN(fd, slave.duplicate());
    }
    TRY_ASSIGN(stdio.ours.input, stdio.ours.output.duplicate());
    return ok();
}

Result<Stdio> make_stdio(const protocol::Start& order) {
    Stdio stdio;
    if (order.tty) {
        TRY(make_tty(order, stdio));
        return stdio;
    }
    if (order.stdin_open) {
        TRY_ASSIGN(FdPair pipe, make_pipe());
        stdio.child[0] = std::move(pipe.first);
        stdio.ours.input = std::move(pipe.second);
        TRY(set_nonblocking(stdio.ours.input.get(), true));
    } else {
        TRY_ASSIGN(stdio.child[0], open_file("/dev/null", O_RDONLY));
    }
    TRY(make_output(stdio.child[1], stdio.ours.output));
    TRY(make_output(stdio.child[2], stdio.ours.error));
    return stdio;
}

/// Reads the child's report: nothing once it has executed its program, else errno and why not.
Status read_report(int pipe) {
    TRY_ASSIGN(const std::string report, read_all(pipe, 64 << 10));
    if (report.empty()) return ok();
    Decoder in(report);
    const auto error = in.get<int32_t>();
    return Error{ErrorCode::kIo, std::string(in.rest()), error == 0 ? EIO : error};
}

}  // namespace

Result<Spawned> spawn(const protocol::Start& order, const SpawnPlace& place) {
    auto stdio = make_stdio(order);
    if (!stdio) return std::move(stdio).error().wrap("standard streams");
    TRY_ASSIGN(FdPair report, make_pipe());
    if (place.join_pidfd < 0 && ::unshare(CLONE_NEWPID) < 0) return os_error("new PID namespace");
    const pid_t pid = ::fork();
    if (pid < 0) return os_error("fork");
    if (pid == 0) {
        Fd* fds = stdio.value().child;
        become_container_process(order, place, {fds[0].get(), fds[1].get(), fds[2].get()},
                                 report.second.get());
    }
    report.second.reset();
    auto started = read_report(report.first.get());
    if (!started) {
        while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
        }
        return std::move(started).error();
    }
    Spawned spawned = std::move(stdio.value().ours);
    spawned.pid = pid;
    return spawned;
}

}  // namespace drupe::init
