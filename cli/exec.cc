#include <unistd.h>

#include <csignal>

#include "api/engine/detach_keys.h"
#include "base/json_reader.h"
#include "cli/attach.h"
#include "cli/command.h"
#include "cli/container_options.h"
#include "cli/daemon.h"
#include "cli/hijacked_streams.h"
#include "cli/terminal.h"

namespace drupe::cli {
namespace {

using client::Client;

constexpr int kKilled = 128 + SIGKILL;

struct ExecOptions {
    std::vector<std::string> operands;  // CONTAINER COMMAND [ARG...]
    bool interactive = false;
    bool tty = false;
    bool detach = false;
    bool privileged = false;
    std::vector<std::string> env;
    std::vector<std::string> env_files;
    std::string working_dir;
    std::string user;
    std::string detach_keys = "ctrl-p,ctrl-q";
};

Result<std::vector<std::string>> environment(const ExecOptions& options) {
    std::vector<std::string> env;
    for (const std::string& file : options.env_files) {
        TRY_ASSIGN(auto variables, read_env_file(file));
        env.insert(env.end(), variables.begin(), variables.end());
    }
    for (const std::string& variable : options.env) {
        TRY(add_variable(variable, env));
    }
    return env;
}

/// The path of a new exec in the API.
Result<std::string> create_exec(Client& client, const ExecOptions& options) {
    const bool attached = !options.detach;
    TRY_ASSIGN(const auto env, environment(options));
    const nlohmann::json body{
        {"Cmd", std::vector(options.operands.begin() + 1, options.operands.end())},
        {"Env", env},
        {"WorkingDir", options.working_dir},
        {"User", options.user},
        {"Tty", options.tty},
        {"Privileged", options.privileged},
        {"AttachStdin", attached && options.interactive},
        {"AttachStdout", attached},
        {"AttachStderr", attached},
        {"DetachKeys", options.detach_keys}};
    const std::string path = container_path(options.operands.front(), "/exec");
    TRY_ASSIGN(const auto created, ask(client, make_request("POST", path, {}, dump_json(body))));
    std::string id;
    JsonReader in(created);
    in.get("Id", id);
    TRY(in.status());
    return "/exec/" + client::escape(id);
}

std::string start_body(const ExecOptions& options) {
    nlohmann::json body{{"Detach", options.detach}, {"Tty", options.tty}};
    const TerminalSize size = terminal_size(STDIN_FILENO);
    if (options.tty && size.rows != 0) body["ConsoleSize"] = {size.rows, size.columns};
    return dump_json(body);
}

Result<int> exit_code(Client& client, const std::string& path) {
    TRY_ASSIGN(const auto json, ask(client, make_request("GET", path + "/json")));
    uint8_t code = 0;
    JsonReader in(json);
    in.get("ExitCode", code);
    TRY(in.status());
    return static_cast<int>(code);
}

/// A program that was killed may have been so because its machine ended.
bool has_ended(Client& client, const std::string& container) {
    const auto json = ask(client, make_request("GET", container_path(container, "/json")));
    if (!json) return json.error().code == ErrorCode::kNotFound;
    const auto state = json.value().find("State");
    return state != json.value().end() && state->is_object() && !state->value("Running", true);
}

/// As Docker's: a signal ends this command and leaves the program; a terminal's Ctrl-C is a byte.
bool on_signal(Client& client, const std::string& path, bool tty, int number) {
    if (number != SIGWINCH)
        return number != SIGINT && number != SIGTERM && number != SIGHUP && number != SIGQUIT;
    const TerminalSize size = terminal_size(STDIN_FILENO);
    if (!tty || size.rows == 0) return true;
    static_cast<void>(client.request(
        make_request("POST", path + "/resize",
                     {{"h", std::to_string(size.rows)}, {"w", std::to_string(size.columns)}})));
    return true;
}

int exec(const ExecOptions& options) {
    if (auto keys = engine::parse_detach_keys(options.detach_keys); !keys)
        return fail(keys.error());
    if (auto checked = check_terminal(options.tty, options.interactive && !options.detach);
        !checked) {
        return fail(checked.error());
    }
    auto client = connect_daemon();
    if (!client) return fail(client.error());
    const auto path = create_exec(client.value(), options);
    if (!path) return fail(path.error());
    const auto start = make_request("POST", path.value() + "/start", {}, start_body(options));
    if (options.detach) {
        const auto started = client.value().request(start);
        return started ? 0 : fail(started.error(), code_of_start(started.error()));
    }
    auto signals = SignalPipe::install();
    if (!signals) return fail(signals.error());
    HijackedStreams streams;
    auto connection = client.value().hijack(start);
    if (!connection) return fail(connection.error());
    streams.connection = std::move(connection).value();
    streams.tty = options.tty;
    streams.with_stdin = options.interactive;
    streams.detach_keys = options.detach_keys;
    const auto end = stay_with_streams(std::move(streams), signals.value(), [&](int number) {
        return on_signal(client.value(), path.value(), options.tty, number);
    });
    restore_terminal();
    if (!end) return fail(end.error());
    if (end.value() == StreamsEnd::kDetached) return options.tty ? 0 : 128 + SIGINT;
    if (end.value() == StreamsEnd::kOutputLost) return 128 + SIGPIPE;
    const auto code = exit_code(client.value(), path.value());
    if (!code) return fail(code.error());
    if (code.value() == kKilled && has_ended(client.value(), options.operands.front())) {
        return fail({ErrorCode::kIo, "the container ended while this ran in it"}, kKilled);
    }
    return code.value();
}

}  // namespace

int exec_command(int argc, char** argv) {
    ExecOptions options;
    Args args("exec", "CONTAINER COMMAND [ARG...]",
              "Run a command in a running container, and return its exit code.");
    args.flag("-i,--interactive", options.interactive, "Connect standard input");
    args.flag("-t,--tty", options.tty, "Give it a terminal");
    args.flag("--privileged", options.privileged, "Give it all capabilities");
    args.flag("-d,--detach", options.detach, "Don't wait for it");
    args.values("-e,--env", "NAME=VALUE", options.env, "Set a variable");
    args.values("--env-file", "FILE", options.env_files, "Read variables from a file");
    args.value("-w,--workdir", "PATH", options.working_dir,
               "Working directory (default: the container's)");
    args.value("-u,--user", "USER", options.user, "User or uid, and group: NAME[:GROUP]");
    args.value("--detach-keys", "KEYS", options.detach_keys,
               "What leaves a terminal without ending it");
    args.operands(options.operands, 2, SIZE_MAX, Args::Options::kInFront);
    args.example("drupe exec -it web sh", "a shell beside the workload");
    args.example("drupe exec -i db psql < dump.sql", "through standard input");
    if (const auto code = args.parse(argc, argv)) return *code;
    return exec(options);
}

}  // namespace drupe::cli
