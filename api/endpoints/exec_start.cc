// POST /exec/{id}/start

#include <sys/socket.h>

#include "api/daemon/container_event.h"
#include "api/daemon/stream_pump.h"
#include "api/endpoints/containers.h"
#include "api/endpoints/log_stream.h"
#include "api/endpoints/start_error.h"
#include "api/engine/detach_keys.h"
#include "base/json_reader.h"

namespace drupe::endpoints {
namespace {

using daemon::ExecConfig;
using daemon::ExecState;
using engine::Container;

constexpr uint32_t kKilled = 137;

struct Running {
    engine::ExecSession session;
    uint64_t wait_id = 0;
};

Result<uint64_t> send_wait(engine::ExecSession& session) {
    control::Request wait;
    wait.op = control::Op::kWait;
    wait.session = session.session;
    return session.client.send(std::move(wait));
}

/// Notes what became of it; the Error is the client's to read.
Result<Running> begin(const Call& call, const ExecState& exec, control::Stdio stdio, uint16_t rows,
                      uint16_t columns) {
    const ExecConfig& config = exec.config;
    engine::ExecRequest request;
    request.argv = config.argv;
    request.env = config.env;
    request.working_dir = config.working_dir;
    request.user = config.user;
    request.tty = config.tty;
    request.privileged = config.privileged;
    request.rows = rows;
    request.columns = columns;
    request.stdio = std::move(stdio);
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    auto session = engine->exec(config.container, std::move(request));
    if (!session) {
        call.daemon.execs.ended(exec.id, exec_exit_code(session.error()));
        return Error{ErrorCode::kInvalid, explain_exec(config.argv.front(), session.error())};
    }
    call.daemon.execs.runs(exec.id, session.value().session);
    const auto wait_id = send_wait(session.value());
    if (!wait_id) {
        call.daemon.execs.ended(exec.id, kKilled);
        return wait_id.error();
    }
    return Running{std::move(session).value(), wait_id.value()};
}

/// Waits for its end, which its monitor's death is too, and writes it down.
void conclude(daemon::Daemon& daemon, const std::string& id, Running& running) {
    const auto reply = running.session.client.receive(running.wait_id);
    const uint32_t code = reply && reply.value().exit ? reply.value().exit->status : kKilled;
    daemon.execs.ended(id, code);
    daemon.events.publish(
        daemon::container_event(running.session.container, "exec_die",
                                {{"execID", id}, {"exitCode", std::to_string(code)}}));
}

/// The same, by a job: nobody else waits.
void conclude_later(daemon::Daemon& daemon, const std::string& id, Running running) {
    auto shared = std::make_shared<Running>(std::move(running));
    daemon.run_job([&daemon, id, shared] { conclude(daemon, id, *shared); });
}

/// One line for the client of a stream.
Status say(int client, bool framed, std::string text) {
    text += "\r\n";
    if (framed) text.insert(0, daemon::frame_head(1, text.size()));
    ::send(client, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return ok();
}

struct StartWish {
    bool detach = false;
    uint16_t rows = 0;
    uint16_t columns = 0;
};

Result<StartWish> parse_start(const nlohmann::json& body) {
    StartWish wish;
    std::vector<uint16_t> size;
    JsonReader in(body);
    in.get("Detach", wish.detach);
    in.get_list("ConsoleSize", size, 2);
    TRY(in.status());
    if (size.size() == 2) {
        wish.rows = size[0];
        wish.columns = size[1];
    }
    return wish;
}

Status start_detached(const Call& call, const ExecState& exec) {
    TRY_ASSIGN(Running running, begin(call, exec, {}, 0, 0));
    conclude_later(call.daemon, exec.id, std::move(running));
    return call.answer(200);
}

Status start_attached(const Call& call, const ExecState& exec, const StartWish& wish) {
    const ExecConfig& config = exec.config;
    const bool tty = config.tty;
    TRY_ASSIGN(auto pipes,
               daemon::make_stream_pipes(config.attach_stdin,
                                         config.attach_stdout || (tty && config.attach_stderr),
                                         config.attach_stderr && !tty));
    pipes.pump.framed = !tty;
    if (tty) {
        TRY_ASSIGN(pipes.pump.detach_keys,
                   engine::parse_detach_keys(config.detach_keys.empty() ? "ctrl-p,ctrl-q"
                                                                        : config.detach_keys));
    }
    // Clients read why it can't be started from the stream, and its exit code from the exec.
    TRY_ASSIGN(auto hijacked, call.http.hijack(stream_type(!tty)));
    auto running = begin(call, exec, std::move(pipes.theirs), wish.rows, wish.columns);
    if (!running) return say(hijacked.fd, !tty, running.error().message);
    pipes.pump.client = hijacked.fd;
    pipes.pump.early = std::move(hijacked.early);
    const auto end = pipes.pump.run();
    if (end == daemon::StreamPump::End::kOutputEnded) {
        conclude(call.daemon, exec.id, running.value());  // before the stream's end is seen
        return ok();
    }
    // It goes on without its client, who is let go at once.
    pipes.pump = {};
    conclude_later(call.daemon, exec.id, std::move(running).value());
    return ok();
}

Status announce_start(const Call& call, const ExecState& exec) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const Container container, engine->find(exec.config.container));
    call.daemon.events.publish(daemon::container_event(
        container, "exec_start: " + command_line(exec.config), {{"execID", exec.id}}));
    return ok();
}

}  // namespace

Status start_exec(const Call& call) {
    TRY_ASSIGN(const auto body, call.body());
    TRY_ASSIGN(const StartWish wish, parse_start(body));
    TRY_ASSIGN(const ExecState exec, call.daemon.execs.begin(call.id()));
    TRY(announce_start(call, exec));
    return wish.detach ? start_detached(call, exec) : start_attached(call, exec, wish);
}

}  // namespace drupe::endpoints
