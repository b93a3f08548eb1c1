#include "cli/foreground.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "api/engine/engine.h"
#include "cli/terminal.h"

namespace drupe::cli {

void Foreground::send_size(ControlClient& client, uint32_t session) {
    const TerminalSize size = terminal_size(STDIN_FILENO);
    if (size.rows == 0 || size.columns == 0) return;
    control::Request request;
    request.op = control::Op::kResize;
    request.session = session;
    request.rows = size.rows;
    request.columns = size.columns;
    // A session that has just ended can't be resized; its end is what is reported.
    static_cast<void>(client.send(std::move(request)));
}

void Foreground::on_signal(ControlClient& client, uint32_t session, int number) {
    if (number == SIGWINCH) {
        if (tty_) send_size(client, session);
        return;
    }
    if (!sig_proxy_) {
        quit_ =
            quit_ || number == SIGINT || number == SIGTERM || number == SIGHUP || number == SIGQUIT;
        return;
    }
    control::Request request;
    request.op = control::Op::kSignal;
    request.session = session;
    request.signal = static_cast<uint32_t>(number);
    static_cast<void>(client.send(std::move(request)));  // the same
}

Result<Left> Foreground::stay(ControlClient& client, uint32_t session, uint64_t wait_id) {
    Left left;
    bool ended = false;
    // The terminal may have been resized since its size was sent with the start.
    if (tty_) send_size(client, session);
    for (;;) {
        if (ended && streams_.output_done()) return left;
        if (streams_.detached() || quit_) {
            left.detached = true;
            return left;
        }
        if (streams_.output_lost()) {
            left.output_lost = true;
            return left;
        }
        std::array<pollfd, 3> polls{{{ended ? -1 : client.fd(), POLLIN, 0},
                                     {signals_.fd(), POLLIN, 0},
                                     {streams_.event_fd(), POLLIN, 0}}};
        if (::poll(polls.data(), polls.size(), -1) < 0) {
            if (errno == EINTR) continue;
            return os_error("poll");
        }
        if (polls[1].revents != 0) {
            while (const auto number = signals_.next()) on_signal(client, session, *number);
        }
        if (polls[2].revents != 0) drain_eventfd(streams_.event_fd());
        if (polls[0].revents == 0) continue;
        auto reply = client.receive(wait_id, std::chrono::milliseconds(0));
        // Refused, and the workload goes on. What a program of an exec's is told is how it ended.
        if (reply && session == protocol::kWorkloadSession && !reply.value().error.empty()) {
            return engine::refused_wait(reply.value());
        }
        if (reply) {
            left.reply = std::move(reply).value();
            ended = true;
        } else if (reply.error().code != ErrorCode::kLimit) {
            ended = true;  // it hung up: its streams end too
        }
    }
}

}  // namespace drupe::cli
