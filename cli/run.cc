// drupe run and drupe create.

#include "api/engine/clock.h"
#include "api/engine/detach_keys.h"
#include "cli/command.h"
#include "cli/container_options.h"
#include "cli/daemon.h"
#include "cli/pull.h"
#include "cli/remote.h"
#include "cli/session.h"

namespace drupe::cli {
namespace {

struct RunOptions {
    ContainerOptions container;
    bool detach = false;
    std::string detach_keys = "ctrl-p,ctrl-q";
    uint64_t begin_ns = engine::monotonic_ns();
};

Status provide(engine::Local& local, const ContainerOptions& options, const std::string& image) {
    return provide_image(local, image, options.pull_policy(), options.pulls_quietly());
}

int run_detached(const RunOptions& options, engine::ContainerConfig config) {
    auto local = open_engine();
    if (!local) return fail(local.error(), kUsageError);
    if (auto there = provide(*local.value(), options.container, config.image); !there) {
        return fail(there.error(), kUsageError);
    }
    auto machine = local.value()->engine->run(std::move(config), options.container.name(), {});
    if (!machine) return fail(machine.error(), kUsageError);
    const std::string id = machine.value().container.id;
    if (auto written = options.container.write_id_file(id); !written) {
        return fail(written.error(), kUsageError);
    }
    if (const int code = see_it_start(*local.value(), machine.value()); code != 0) return code;
    return print(id + "\n");
}

int run_attached(const RunOptions& options, engine::ContainerConfig config) {
    StreamOptions wanted;
    wanted.with_stdin = config.open_stdin;
    wanted.with_console = config.console;
    wanted.tty = config.tty;
    wanted.detach_keys = options.detach_keys;
    if (auto keys = engine::parse_detach_keys(wanted.detach_keys); !keys) {
        return fail(keys.error(), kUsageError);
    }
    auto local = open_engine();
    if (!local) return fail(local.error(), kUsageError);
    if (auto there = provide(*local.value(), options.container, config.image); !there) {
        return fail(there.error(), kUsageError);
    }
    auto streams = Streams::make(wanted);
    if (!streams) return fail(streams.error(), kUsageError);
    engine::StartRequest request;
    request.stdio = streams.value().take_far_ends();
    if (config.tty) {
        const TerminalSize size = terminal_size(STDIN_FILENO);
        request.rows = size.rows;
        request.columns = size.columns;
    }
    request.console = streams.value().take_console_end();
    ForegroundOptions foreground;
    foreground.launched = true;
    foreground.tty = config.tty;
    foreground.timing = options.container.timing();
    foreground.begin_ns = options.begin_ns;

    auto signals = SignalPipe::install();
    if (!signals) return fail(signals.error(), kUsageError);
    auto machine =
        local.value()->engine->run(std::move(config), options.container.name(), std::move(request));
    if (!machine) return fail(machine.error(), kUsageError);
    if (auto written = options.container.write_id_file(machine.value().container.id); !written) {
        static_cast<void>(fail(written.error()));
    }
    return stay_with(*local.value(), std::move(machine).value(), streams.value(), signals.value(),
                     foreground);
}

}  // namespace

int run_command(int argc, char** argv) {
    RunOptions options;
    Args args("run", "IMAGE [COMMAND] [ARG...]",
              "Create a microVM from an image, run a command in it, and return its exit code.");
    options.container.declare(args);
    args.flag("-d,--detach", options.detach, "Run in the background and print the id");
    args.value("--detach-keys", "KEYS", options.detach_keys,
               "What leaves a terminal without ending it");
    args.example("drupe run --rm busybox echo hello", "the built-in image; no network is needed");
    args.example("drupe run -it --name work debian:12 bash", "a shell with a terminal");
    args.example("drupe run -d -m 256m --cpus 2 -e LEVEL=3 app serve", "in the background");
    args.example("drupe run -d --storage-opt size=10G db", "it can't write more than that");
    args.example("tar c . | drupe run --rm -i busybox tar t", "through standard input");
    args.example("drupe run --rm --timing --console busybox true", "see it boot");
    if (const auto code = args.parse(argc, argv)) return *code;
    auto config = options.container.build();
    if (!config) return fail(config.error(), kUsageError);
    if (auto checked = options.container.check_id_file(); !checked) {
        return fail(checked.error(), kUsageError);
    }
    engine::ContainerConfig& c = config.value();
    if (options.detach && over_api()) {
        return remote_run(options.container, c, true, options.detach_keys);
    }
    if (options.detach) return run_detached(options, std::move(c));
    if (auto checked = check_terminal(c.tty, c.open_stdin); !checked) {
        return fail(checked.error(), kFailure);
    }
    c.attach_stdin = c.open_stdin;
    c.stdin_once = c.open_stdin;
    c.attach_stdout = true;
    c.attach_stderr = true;
    if (over_api()) {
        return remote_run(options.container, c, false, options.detach_keys);
    }
    return run_attached(options, std::move(c));
}

int create_command(int argc, char** argv) {
    ContainerOptions options;
    Args args("create", "IMAGE [COMMAND] [ARG...]",
              "Create a container without starting it, and print its id.");
    options.declare(args);
    args.example("drupe create --name web app && drupe start -a web", "create now, run later");
    if (const auto code = args.parse(argc, argv)) return *code;
    auto config = options.build();
    if (!config) return fail(config.error(), kUsageError);
    if (auto checked = options.check_id_file(); !checked) return fail(checked.error());
    config.value().attach_stdin = config.value().open_stdin;
    config.value().stdin_once = config.value().open_stdin;
    config.value().attach_stdout = true;
    config.value().attach_stderr = true;
    if (over_api()) return remote_create(options, config.value());
    auto local = open_engine();
    if (!local) return fail(local.error());
    if (auto there = provide(*local.value(), options, config.value().image); !there) {
        return fail(there.error());
    }
    const auto created = local.value()->engine->create(std::move(config).value(), options.name());
    if (!created) return fail(created.error());
    if (auto written = options.write_id_file(created.value().id); !written) {
        return fail(written.error());
    }
    return print(created.value().id + "\n");
}

}  // namespace drupe::cli
