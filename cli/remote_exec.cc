// drupe exec through a daemon.

#include <unistd.h>

#include <csignal>

#include "api/client/client.h"
#include "api/engine/detach_keys.h"
#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/remote.h"
#include "cli/remote_session.h"
#include "cli/streams.h"
#include "cli/terminal.h"

namespace drupe::cli {
namespace {

using client::Client;

Result<std::string> create_exec(Client& client, const RemoteExec& options) {
    const bool attached = !options.detach;
    const nlohmann::json body{{"Cmd", options.argv},
                              {"Env", options.env},
                              {"WorkingDir", options.working_dir},
                              {"User", options.user},
                              {"Tty", options.tty},
                              {"Privileged", options.privileged},
                              {"AttachStdin", attached && options.interactive},
                              {"AttachStdout", attached},
                              {"AttachStderr", attached},
                              {"DetachKeys", options.detach_keys}};
    TRY_ASSIGN(const auto created,
               client.request(make_request("POST", container_path(options.container, "/exec"), {},
                                           dump_json(body))));
    TRY_ASSIGN(const auto json, parse_json(created.body));
    std::string id;
    JsonReader in(json);
    in.get("Id", id);
    TRY(in.status());
    return "/exec/" + client::escape(id);
}

std::string start_body(const RemoteExec& options) {
    nlohmann::json body{{"Detach", options.detach}, {"Tty", options.tty}};
    const TerminalSize size = terminal_size(STDIN_FILENO);
    if (options.tty && size.rows != 0) body["ConsoleSize"] = {size.rows, size.columns};
    return dump_json(body);
}

Result<int> exit_code(Client& client, const std::string& path) {
    TRY_ASSIGN(const auto found, client.request(make_request("GET", path + "/json")));
    TRY_ASSIGN(const auto json, parse_json(found.body));
    uint8_t code = 0;
    JsonReader in(json);
    in.get("ExitCode", code);
    TRY(in.status());
    return static_cast<int>(code);
}

}  // namespace

int remote_exec(const RemoteExec& options) {
    if (auto keys = engine::parse_detach_keys(options.detach_keys); !keys)
        return fail(keys.error());
    auto client = connect_daemon();
    if (!client) return fail(client.error());
    const auto path = create_exec(client.value(), options);
    if (!path) return fail(path.error());
    const auto start = make_request("POST", path.value() + "/start", {}, start_body(options));
    if (options.detach) {
        const auto started = client.value().request(start);
        return started ? 0 : fail(started.error(), 126);
    }
    auto signals = SignalPipe::install();
    if (!signals) return fail(signals.error());
    auto connection = client.value().hijack(start);
    if (!connection) return fail(connection.error());
    RemoteStreams streams;
    streams.connection = std::move(connection).value();
    streams.tty = options.tty;
    streams.with_stdin = options.interactive;
    streams.detach_keys = options.detach_keys;
    // As Docker's: a signal ends this command and leaves the program; a terminal's Ctrl-C is a
    // byte.
    const auto end = stay_remote(std::move(streams), signals.value(), [&](int number) {
        if (number != SIGWINCH)
            return number != SIGINT && number != SIGTERM && number != SIGHUP && number != SIGQUIT;
        const TerminalSize size = terminal_size(STDIN_FILENO);
        if (!options.tty || size.rows == 0) return true;
        static_cast<void>(client.value().request(
            make_request("POST", path.value() + "/resize",
                         {{"h", std::to_string(size.rows)}, {"w", std::to_string(size.columns)}})));
        return true;
    });
    restore_terminal();
    if (!end) return fail(end.error());
    if (end.value() == RemoteEnd::kDetached) return options.tty ? 0 : 128 + SIGINT;
    if (end.value() == RemoteEnd::kOutputLost) return 128 + SIGPIPE;
    const auto code = exit_code(client.value(), path.value());
    return code ? code.value() : fail(code.error());
}

}  // namespace drupe::cli
