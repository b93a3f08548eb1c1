// drupe start and drupe attach.

#include "api/engine/clock.h"
#include "api/engine/detach_keys.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/remote.h"
#include "cli/session.h"

namespace drupe::cli {
namespace {

struct AttachOptions {
    bool with_stdin = false;
    bool sig_proxy = true;
    std::string detach_keys = "ctrl-p,ctrl-q";
};

Result<Streams> make_streams(const engine::Container& container, const AttachOptions& options,
                             bool with_console) {
    StreamOptions wanted;
    wanted.with_stdin = options.with_stdin && container.config.open_stdin;
    wanted.with_console = with_console;
    wanted.tty = container.config.tty;
    wanted.detach_keys = options.detach_keys;
    TRY(check_terminal(wanted.tty, wanted.with_stdin));
    TRY(engine::parse_detach_keys(wanted.detach_keys));
    return Streams::make(wanted);
}

int start_attached(engine::Local& local, const std::string& name, const AttachOptions& options) {
    ForegroundOptions foreground;
    foreground.begin_ns = engine::monotonic_ns();
    const auto container = local.engine->find(name);
    if (!container) return fail(container.error());
    const engine::ContainerConfig& config = container.value().config;
    auto streams = make_streams(container.value(), options, config.console);
    if (!streams) return fail(streams.error());
    engine::StartRequest request;
    request.stdio = streams.value().take_far_ends();
    if (config.tty) {
        const TerminalSize size = terminal_size(STDIN_FILENO);
        request.rows = size.rows;
        request.columns = size.columns;
    }
    request.console = streams.value().take_console_end();
    foreground.launched = true;
    foreground.tty = config.tty;
    foreground.sig_proxy = options.sig_proxy;
    foreground.timing = config.timing;
    auto signals = SignalPipe::install();
    if (!signals) return fail(signals.error());
    auto machine = local.engine->start(name, std::move(request));
    if (!machine) return fail(machine.error());
    return stay_with(local, std::move(machine).value(), streams.value(), signals.value(),
                     foreground);
}

Result<std::string> start_detached(engine::Local& local, const std::string& name) {
    TRY_ASSIGN(const auto container, local.engine->find(name));
    if (engine::verdict(container.state, engine::Command::kStart) == engine::Verdict::kAlready) {
        return name;
    }
    TRY_ASSIGN(auto machine, local.engine->start(name, {}));
    TRY_ASSIGN(const bool started, local.engine->await_started(machine));
    if (started) return name;
    TRY_ASSIGN(const auto ended, local.engine->conclude(machine));
    clean_up_later(machine.container.id);
    if (ended.record.reason == "exited") return name;
    return Error{ErrorCode::kIo, ended.record.error};
}

}  // namespace

int start_command(int argc, char** argv) {
    std::vector<std::string> names;
    bool attach = false;
    AttachOptions options;
    Args args("start", "CONTAINER [CONTAINER...]", "Start containers that don't run.");
    args.flag("-a,--attach", attach, "Stay with it: its output and its exit code are yours");
    args.flag("-i,--interactive", options.with_stdin, "Connect standard input");
    args.value("--detach-keys", "KEYS", options.detach_keys,
               "What leaves a terminal without ending it");
    args.operands(names, 1, SIZE_MAX);
    args.example("drupe start web db", "start two in the background");
    args.example("drupe start -ai work", "go on with an interactive one");
    if (const auto code = args.parse(argc, argv)) return *code;
    if (over_api()) {
        if (!attach && !options.with_stdin) return ask_each(names, "POST", "/start");
        if (names.size() > 1) {
            return fail({ErrorCode::kInvalid, "only one container can be attached to at a time"});
        }
        return remote_attach(names.front(),
                             {true, options.with_stdin, options.sig_proxy, options.detach_keys});
    }
    auto local = open_engine();
    if (!local) return fail(local.error());
    if (!attach && !options.with_stdin) {
        return for_each(
            names, [&](const std::string& name) { return start_detached(*local.value(), name); });
    }
    if (names.size() > 1) {
        return fail({ErrorCode::kInvalid, "only one container can be attached to at a time"});
    }
    return start_attached(*local.value(), names.front(), options);
}

int attach_command(int argc, char** argv) {
    std::vector<std::string> names;
    bool no_stdin = false;
    bool no_proxy = false;
    AttachOptions options;
    Args args("attach", "CONTAINER",
              "Connect to the streams of a running container; returns its exit code.");
    args.flag("--no-stdin", no_stdin, "Don't connect standard input");
    args.flag("--no-sig-proxy", no_proxy, "Signals end this command, not the workload");
    args.value("--detach-keys", "KEYS", options.detach_keys,
               "What leaves a terminal without ending it");
    args.operands(names, 1, 1);
    args.example("drupe attach web", "watch what it prints from now on");
    if (const auto code = args.parse(argc, argv)) return *code;
    if (over_api()) {
        return remote_attach(names.front(), {false, !no_stdin, !no_proxy, options.detach_keys});
    }
    auto local = open_engine();
    if (!local) return fail(local.error());
    const auto container = local.value()->engine->find(names.front());
    if (!container) return fail(container.error());
    options.with_stdin = !no_stdin;
    options.sig_proxy = !no_proxy;
    auto streams = make_streams(container.value(), options, false);
    if (!streams) return fail(streams.error());
    auto signals = SignalPipe::install();
    if (!signals) return fail(signals.error());
    auto machine = local.value()->engine->attach(names.front(), streams.value().take_far_ends());
    if (!machine) return fail(machine.error());
    ForegroundOptions foreground;
    foreground.tty = container.value().config.tty;
    foreground.sig_proxy = options.sig_proxy;
    return stay_with(*local.value(), std::move(machine).value(), streams.value(), signals.value(),
                     foreground);
}

}  // namespace drupe::cli
