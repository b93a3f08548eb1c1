#include "guest-init/workload_init.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <initializer_list>

namespace drupe::init {
namespace {

/// All that can be waited for. Not what a bug of this process's own raises.
sigset_t handled_signals() {
    sigset_t set;
    ::sigfillset(&set);
    for (const int own :
         {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGTTIN, SIGTTOU})
        ::sigdelset(&set, own);
    return set;
}

[[noreturn]] void leave_as(int wait_status) {
    ::_exit(WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status));
}

/// Returns when nothing more is to be reaped now.
void reap(pid_t workload) {
    for (;;) {
        int status = 0;
        const pid_t pid = ::waitpid(-1, &status, WNOHANG);
        if (pid == workload) leave_as(status);
        if (pid <= 0 && !(pid < 0 && errno == EINTR)) return;
    }
}

[[noreturn]] void serve(pid_t workload, const sigset_t& signals) {
    for (;;) {
        const int signal = ::sigwaitinfo(&signals, nullptr);
        if (signal < 0) continue;
        if (signal == SIGCHLD) {
            reap(workload);
        } else {
            (void)::kill(workload, signal);
        }
    }
}

}  // namespace

void fork_from_init(bool tty) {
    const sigset_t signals = handled_signals();
    ::sigprocmask(SIG_SETMASK, &signals, nullptr);
    ::signal(SIGTTOU, SIG_IGN);  // a background process that makes another the foreground
    ::signal(SIGTTIN, SIG_IGN);
    const pid_t pid = ::fork();
    if (pid < 0) ::_exit(127);
    if (pid > 0) {
        // What it has open would keep streams and the report from ending.
        (void)::close_range(0, ~0U, 0);
        ::prctl(PR_SET_NAME, "drupe-init");
        ::prctl(PR_SET_DUMPABLE, 0);  // its memory is a copy of the machine's PID 1's
        serve(pid, signals);
    }
    ::setpgid(0, 0);
    if (tty) (void)::tcsetpgrp(STDIN_FILENO, ::getpid());
}

}  // namespace drupe::init
