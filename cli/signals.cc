#include "cli/signals.h"

#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace drupe::cli {
namespace {

int g_write_fd = -1;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

void on_signal(int number) {
    const int saved_errno = errno;
    const auto byte = static_cast<unsigned char>(number);
    // The pipe doesn't block: when it is full, this one is dropped like any signal that is pending.
    const ssize_t written = ::write(g_write_fd, &byte, 1);
    static_cast<void>(written);
    errno = saved_errno;
}

void do_nothing(int /*number*/) {}

Status handle(int number, void (*handler)(int)) {
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    sigfillset(&action.sa_mask);
    if (::sigaction(number, &action, nullptr) < 0) return os_error("sigaction");
    return ok();
}

}  // namespace

Result<SignalPipe> SignalPipe::install() {
    TRY_ASSIGN(FdPair pipe, make_pipe());
    TRY(set_nonblocking(pipe.first.get(), true));
    TRY(set_nonblocking(pipe.second.get(), true));
    g_write_fd = pipe.second.release();  // the handlers', until the process ends
    for (const int number :
         {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH}) {
        // What was ignored stays so: a command under nohup lives on.
        struct sigaction before {};
        if (::sigaction(number, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) continue;
        TRY(handle(number, on_signal));
    }
    TRY(handle(SIGPIPE, do_nothing));
    return SignalPipe(std::move(pipe.first));
}

std::optional<int> SignalPipe::next() {
    unsigned char byte = 0;
    const ssize_t n = ::read(read_.get(), &byte, 1);
    if (n != 1) return std::nullopt;
    return byte;
}

}  // namespace drupe::cli
