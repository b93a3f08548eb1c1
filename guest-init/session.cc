#include "guest-init/session.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cerrno>
#include <utility>

namespace drupe::init {

Session::Session(EventLoop& loop, uint32_t id, Spawned spawned, bool tty)
    : id_(id), pid_(spawned.pid) {
    if (tty) {
        auto copy = spawned.output.duplicate();
        if (copy) tty_ = std::move(copy).value();
    }
    if (spawned.input.valid()) input_.emplace(loop, std::move(spawned.input), tty);
    output_.emplace(loop, std::move(spawned.output), tty);
    if (spawned.error.valid()) error_.emplace(loop, std::move(spawned.error), false);
}

void Session::process_exited(int wait_status, bool oom_killed) {
    const bool by_signal = WIFSIGNALED(wait_status);
    protocol::Exited exit{.session = id_, .oom_killed = oom_killed};
    exit.signal = by_signal ? static_cast<uint8_t>(WTERMSIG(wait_status)) : uint8_t{0};
    exit.status = static_cast<uint8_t>(by_signal ? 128 + exit.signal : WEXITSTATUS(wait_status));
    exit_ = exit;
    if (input_) input_->process_exited();
    output_->process_exited();
    if (error_) error_->process_exited();
}

void Session::attach(const protocol::StreamOpen& open, Fd connection) {
    switch (open.stream) {
        case protocol::Stream::kStdin:
            if (input_) return input_->attach(std::move(connection), open.offset);
            break;
        case protocol::Stream::kStdout:
            return output_->attach(std::move(connection), open.offset);
        case protocol::Stream::kStderr:
            if (error_) return error_->attach(std::move(connection), open.offset);
            break;
    }
    refuse_stream(connection, ENOENT);
}

Status Session::signal(const protocol::Signal& order) const {
    if (!running()) return os_error("signal", ESRCH);
    // Its first process leads a process group of its own.
    if (::kill(order.all ? -pid_ : pid_, static_cast<int>(order.signal)) < 0)
        return os_error("signal");
    return ok();
}

Status Session::resize(const protocol::Resize& order) const {
    if (!tty_.valid()) return os_error("resize", ENOTTY);
    const winsize size{
        .ws_row = order.rows, .ws_col = order.columns, .ws_xpixel = 0, .ws_ypixel = 0};
    if (::ioctl(tty_.get(), TIOCSWINSZ, &size) < 0) return os_error("resize");
    return ok();
}

void refuse_stream(const Fd& connection, int error) {
    const std::string answer =
        protocol::encode(protocol::StreamOpened{.error = error, .offset = 0});
    [[maybe_unused]] const ssize_t ignored =
        ::send(connection.get(), answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace drupe::init
