// POST /containers/{id}/exec, GET /exec/{id}/json, POST /exec/{id}/resize

#include "api/daemon/container_event.h"
#include "api/endpoints/containers.h"
#include "api/engine/detach_keys.h"
#include "base/json_reader.h"

namespace drupe::endpoints {
namespace {

using daemon::ExecConfig;
using daemon::ExecState;
using engine::Container;
using engine::State;

constexpr size_t kMaxItems = 8192;

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
