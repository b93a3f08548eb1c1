// POST /containers/{id}/exec, POST /exec/{id}/start, GET /exec/{id}/json, POST /exec/{id}/resize

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
using engine::State;

constexpr size_t kMaxItems = 8192;
constexpr uint32_t kKilled = 137;

Result<ExecConfig> parse(const nlohmann::json& body) {
    ExecConfig config;
    JsonReader in(body);
    in.get_list("Cmd", config.argv, kMaxItems);
    in.get_list("Env", config.env, kMaxItems);
    in.get("User", config.user);
    in.get("WorkingDir", config.working_dir);
    in.get("Tty", config.tty);
    in.get("Privileged", config.privileged);
    in.get("AttachStdin", config.attach_stdin);
    in.get("AttachStdout", config.attach_stdout);
    in.get("AttachStderr", config.attach_stderr);
    in.get("DetachKeys", config.detach_keys);
    TRY(in.status());
    if (config.argv.empty() || config.argv.front().empty()) {
        return Error{ErrorCode::kInvalid, "No exec command specified"};
    }
    for (const std::string& variable : config.env) {
        if (variable.empty() || variable.front() == '=') {
            return Error{ErrorCode::kInvalid, "invalid environment variable: " + variable};
        }
    }
    if (!config.working_dir.empty() && config.working_dir.front() != '/') {
        return Error{ErrorCode::kInvalid, "Cwd must be an absolute path"};
    }
    if (!config.detach_keys.empty()) {  // before a start, which there is only one of
        TRY(engine::parse_detach_keys(config.detach_keys));
    }
    return config;
}

std::string command_line(const ExecConfig& config) {
    std::string text;
    for (const std::string& word : config.argv) text += (text.empty() ? "" : " ") + word;
    return text;
}

Result<engine::ExecSession> begin(engine::Engine& engine, const ExecConfig& config,
                                  control::Stdio stdio, uint16_t rows, uint16_t columns) {
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
    return engine.exec(config.container, std::move(request));
}

/// Waits for its end, which its monitor's death is too, and writes it down.
void conclude(daemon::Daemon& daemon, const std::string& id, engine::ExecSession& session,
              uint64_t wait_id) {
    const auto reply = session.client.receive(wait_id);
    const uint32_t code = reply && reply.value().exit ? reply.value().exit->status : kKilled;
    daemon.execs.ended(id, code);
    daemon.events.publish(daemon::container_event(
        session.container, "exec_die", {{"execID", id}, {"exitCode", std::to_string(code)}}));
}

/// The same, by a job: nobody else waits.
void conclude_later(daemon::Daemon& daemon, const std::string& id, engine::ExecSession session,
                    uint64_t wait_id) {
    auto shared = std::make_shared<engine::ExecSession>(std::move(session));
    daemon.run_job([&daemon, id, shared, wait_id] { conclude(daemon, id, *shared, wait_id); });
}

/// One line for the client of a stream.
Status say(int client, bool framed, std::string text) {
    text += "\r\n";
    if (framed) text.insert(0, daemon::frame_head(1, text.size()));
    ::send(client, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return ok();
}

Result<uint64_t> send_wait(engine::ExecSession& session) {
    control::Request wait;
    wait.op = control::Op::kWait;
    wait.session = session.session;
    return session.client.send(std::move(wait));
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
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    auto session = begin(engine.engine(), exec.config, {}, 0, 0);
    if (!session) {
        call.daemon.execs.ended(exec.id, exec_exit_code(session.error()));
        return Error{ErrorCode::kInvalid, explain_exec(exec.config.argv.front(), session.error())};
    }
    call.daemon.execs.runs(exec.id, session.value().session);
    TRY_ASSIGN(const uint64_t wait_id, send_wait(session.value()));
    conclude_later(call.daemon, exec.id, std::move(session).value(), wait_id);
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
    std::optional<engine::ExecSession> session;
    uint64_t wait_id = 0;
    {
        TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
        auto begun =
            begin(engine.engine(), config, std::move(pipes.theirs), wish.rows, wish.columns);
        if (!begun) {
            call.daemon.execs.ended(exec.id, exec_exit_code(begun.error()));
            return say(hijacked.fd, !tty, explain_exec(config.argv.front(), begun.error()));
        }
        session = std::move(begun).value();
        call.daemon.execs.runs(exec.id, session->session);
        TRY_ASSIGN(wait_id, send_wait(*session));
    }
    pipes.pump.client = hijacked.fd;
    pipes.pump.early = std::move(hijacked.early);
    const auto end = pipes.pump.run();
    if (end == daemon::StreamPump::End::kOutputEnded) {
        conclude(call.daemon, exec.id, *session, wait_id);  // before the stream's end is seen
        return ok();
    }
    // It goes on without its client, who is let go at once.
    pipes.pump = {};
    conclude_later(call.daemon, exec.id, std::move(*session), wait_id);
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

Status create_exec(const Call& call) {
    TRY_ASSIGN(const auto body, call.body());
    TRY_ASSIGN(ExecConfig config, parse(body));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const Container container, engine->find(call.id()));
    if (container.state == State::kPaused) {
        return Error{ErrorCode::kConflict,
                     "Container " + call.id() + " is paused, unpause the container before exec"};
    }
    if (container.state != State::kRunning) {
        return Error{ErrorCode::kConflict, "Container " + container.id + " is not running"};
    }
    config.container = container.id;
    TRY_ASSIGN(const ExecState exec, call.daemon.execs.add(std::move(config)));
    call.daemon.events.publish(daemon::container_event(
        container, "exec_create: " + command_line(exec.config), {{"execID", exec.id}}));
    return call.answer(201, {{"Id", exec.id}});
}

Status start_exec(const Call& call) {
    TRY_ASSIGN(const auto body, call.body());
    TRY_ASSIGN(const StartWish wish, parse_start(body));
    TRY_ASSIGN(const ExecState exec, call.daemon.execs.begin(call.id()));
    TRY(announce_start(call, exec));
    return wish.detach ? start_detached(call, exec) : start_attached(call, exec, wish);
}

Status inspect_exec(const Call& call) {
    TRY_ASSIGN(const ExecState exec, call.daemon.execs.find(call.id()));
    const ExecConfig& config = exec.config;
    const std::vector<std::string> arguments(config.argv.begin() + 1, config.argv.end());
    Json process{{"tty", config.tty},
                 {"entrypoint", config.argv.front()},
                 {"arguments", arguments},
                 {"privileged", config.privileged}};
    if (!config.user.empty()) process["user"] = config.user;
    return call.answer(200, {{"ID", exec.id},
                             {"Running", exec.running},
                             {"ExitCode", exec.exit_code ? Json(*exec.exit_code) : Json()},
                             {"ProcessConfig", process},
                             {"OpenStdin", config.attach_stdin},
                             {"OpenStderr", config.attach_stderr},
                             {"OpenStdout", config.attach_stdout},
                             {"CanRemove", false},
                             {"ContainerID", config.container},
                             {"DetachKeys", config.detach_keys},
                             {"Pid", exec.running ? exec.session : 0}});
}

Status resize_exec(const Call& call) {
    TRY_ASSIGN(const auto rows, call.number("h"));
    TRY_ASSIGN(const auto columns, call.number("w"));
    if (!rows || !columns || *rows < 0 || *columns < 0 || *rows > UINT16_MAX ||
        *columns > UINT16_MAX) {
        return Error{ErrorCode::kInvalid, "h and w have to be numbers from 0 to 65535"};
    }
    TRY_ASSIGN(const ExecState exec, call.daemon.execs.find(call.id()));
    if (!exec.running) {
        return Error{ErrorCode::kConflict, "exec " + exec.id + " is not running"};
    }
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY(engine->resize(exec.config.container, exec.session, static_cast<uint16_t>(*rows),
                       static_cast<uint16_t>(*columns)));
    return call.answer(200);
}

}  // namespace drupe::endpoints
