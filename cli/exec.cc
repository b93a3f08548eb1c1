#include <cerrno>
#include <csignal>

#include "api/engine/detach_keys.h"
#include "cli/command.h"
#include "cli/container_options.h"
#include "cli/daemon.h"
#include "cli/remote.h"
#include "cli/session.h"

namespace drupe::cli {
namespace {

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

/// Docker's codes for a program that can't be started.
int code_of(const Error& error) {
    switch (error.os_errno) {
        case ENOENT:
        case ENOTDIR:
            return 127;
        case EACCES:
        case EISDIR:
        case ENOEXEC:
        case EPERM:
            return 126;
        default:
            return kFailure;
    }
}

Result<engine::ExecRequest> make_request(const ExecOptions& options) {
    engine::ExecRequest request;
    request.argv.assign(options.operands.begin() + 1, options.operands.end());
    for (const std::string& file : options.env_files) {
        TRY_ASSIGN(auto variables, read_env_file(file));
        request.env.insert(request.env.end(), variables.begin(), variables.end());
    }
    for (const std::string& variable : options.env) add_variable(variable, request.env);
    request.working_dir = options.working_dir;
    request.user = options.user;
    request.tty = options.tty;
    request.privileged = options.privileged;
    return request;
}

int exec(const ExecOptions& options) {
    auto request = make_request(options);
    if (!request) return fail(request.error());
    StreamOptions wanted;
    wanted.with_stdin = options.interactive && !options.detach;
    wanted.with_stdout = !options.detach;
    wanted.with_stderr = !options.detach;
    wanted.tty = options.tty;
    wanted.detach_keys = options.detach_keys;
    if (auto keys = engine::parse_detach_keys(wanted.detach_keys); !keys) return fail(keys.error());
    if (auto checked = check_terminal(wanted.tty, wanted.with_stdin); !checked) {
        return fail(checked.error());
    }
    if (over_api()) {
        const engine::ExecRequest& r = request.value();
        return remote_exec({options.operands.front(), r.argv, r.env, r.working_dir, r.user, r.tty,
                            options.interactive, r.privileged, options.detach,
                            options.detach_keys});
    }
    auto streams = Streams::make(wanted);
    if (!streams) return fail(streams.error());
    if (options.tty) {
        const TerminalSize size = terminal_size(STDIN_FILENO);
        request.value().rows = size.rows;
        request.value().columns = size.columns;
    }
    request.value().stdio = streams.value().take_far_ends();
    auto local = open_engine();
    if (!local) return fail(local.error());
    auto signals = SignalPipe::install();
    if (!signals) return fail(signals.error());
    auto session =
        local.value()->engine->exec(options.operands.front(), std::move(request).value());
    if (!session) return fail(session.error(), code_of(session.error()));
    if (options.detach) return 0;

    control::Request wait;
    wait.op = control::Op::kWait;
    wait.session = session.value().session;
    const auto wait_id = session.value().client.send(std::move(wait));
    if (!wait_id) return fail(wait_id.error());
    if (auto started = streams.value().start(); !started) return fail(started.error());
    // As Docker's: a signal ends this command and leaves the program; a terminal's Ctrl-C is a
    // byte.
    Foreground foreground(streams.value(), signals.value(), options.tty, false);
    auto left = foreground.stay(session.value().client, session.value().session, wait_id.value());
    streams.value().restore_terminal();
    if (!left) return fail(left.error());
    if (left.value().detached) return options.tty ? 0 : 128 + SIGINT;
    if (left.value().output_lost) return 128 + SIGPIPE;
    if (!left.value().reply) {
        return fail({ErrorCode::kIo, "the container ended while this ran in it"}, 137);
    }
    if (!left.value().reply->error.empty()) {
        return fail({ErrorCode::kIo, left.value().reply->error}, 137);
    }
    return left.value().reply->exit ? static_cast<int>(left.value().reply->exit->status) : kFailure;
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
