// drupe run and drupe create.

#include "api/engine/clock.h"
#include "cli/attach.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/new_container.h"

namespace drupe::cli {
namespace {

/// The whole configuration, with what a client says of its own streams.
Result<engine::ContainerConfig> build(ContainerOptions& options, bool detached) {
    TRY_ASSIGN(engine::ContainerConfig config, options.build());
    TRY(options.check_id_file());
    if (detached) return config;
    config.attach_stdin = config.open_stdin;
    config.stdin_once = config.open_stdin;
    config.attach_stdout = true;
    config.attach_stderr = true;
    return config;
}

int run_detached(client::Client& client, const std::string& id) {
    const auto started = client.begin(make_request("POST", container_path(id, "/start")));
    if (!started) return fail(started.error(), code_of_start(started.error()));
    return print(id + "\n");
}

}  // namespace

int run_command(int argc, char** argv) {
    ContainerOptions options;
    Attach attach;
    bool detach = false;
    attach.start = true;
    attach.begin_ns = engine::monotonic_ns();
    attach.detach_keys = "ctrl-p,ctrl-q";
    Args args("run", "IMAGE [COMMAND] [ARG...]",
              "Create a microVM from an image, run a command in it, and return its exit code.");
    options.declare(args);
    args.flag("-d,--detach", detach, "Run in the background and print the id");
    args.value("--detach-keys", "KEYS", attach.detach_keys,
               "What leaves a terminal without ending it");
    args.example("drupe run --rm busybox echo hello", "the built-in image; no network is needed");
    args.example("drupe run -it --name work debian:12 bash", "a shell with a terminal");
    args.example("drupe run -d -m 256m --cpus 2 -e LEVEL=3 app serve", "in the background");
    args.example("drupe run -d --storage-opt size=10G db", "it can't write more than that");
    args.example("tar c . | drupe run --rm -i busybox tar t", "through standard input");
    args.example("drupe run --rm --timing --console busybox true", "see it boot");
    if (const auto code = args.parse(argc, argv)) return *code;
    const auto config = build(options, detach);
    if (!config) return fail(config.error(), kUsageError);
    attach.tty = config.value().tty;
    attach.with_stdin = config.value().open_stdin;
    attach.auto_remove = config.value().auto_remove;
    attach.timing = config.value().timing;
    if (!detach) {
        if (auto checked = check_terminal(attach.tty, attach.with_stdin); !checked) {
            return fail(checked.error());
        }
    }
    auto client = connect_daemon();
    if (!client) return fail(client.error(), kUsageError);
    const auto id = create_container(client.value(), options, config.value());
    if (!id) return fail(id.error(), kUsageError);
    if (detach) return run_detached(client.value(), id.value());
    attach.created_ns = engine::monotonic_ns();
    return stay_with(client.value(), id.value(), attach);
}

int create_command(int argc, char** argv) {
    ContainerOptions options;
    Args args("create", "IMAGE [COMMAND] [ARG...]",
              "Create a container without starting it, and print its id.");
    options.declare(args);
    args.example("drupe create --name web app && drupe start -a web", "create now, run later");
    if (const auto code = args.parse(argc, argv)) return *code;
    const auto config = build(options, false);
    if (!config) return fail(config.error(), kUsageError);
    auto client = connect_daemon();
    if (!client) return fail(client.error());
    const auto id = create_container(client.value(), options, config.value());
    return id ? print(id.value() + "\n") : fail(id.error());
}

}  // namespace drupe::cli
