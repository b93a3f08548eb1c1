// drupe run, create, start -a, attach and wait through a daemon.

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include "api/client/client.h"
#include "api/engine/detach_keys.h"
#include "api/engine/inspect.h"
#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/remote.h"
#include "cli/remote_session.h"
#include "cli/streams.h"
#include "cli/terminal.h"
#include "imagefs/oci/reference.h"

namespace drupe::cli {
namespace {

using client::Client;

constexpr int kNotFound = 127;
constexpr int kNotExecutable = 126;
constexpr size_t kMaxAnswer = 64 << 10;

/// Docker's codes for a program that can't be started: only the text tells.
int code_of_start(const Error& error) {
    const auto says = [&](const char* what) {
        return error.message.find(what) != std::string::npos;
    };
    if (says("executable file not found") || says("no such file or directory")) return kNotFound;
    if (says("permission denied") || says("is a directory")) return kNotExecutable;
    return kUsageError;
}

Result<std::string> text_member(std::string_view body, const char* name) {
    TRY_ASSIGN(const auto json, parse_json(body));
    std::string text;
    JsonReader in(json);
    in.get(name, text);
    TRY(in.status());
    return text;
}

/// Each line of a pull's progress that says something new of a whole layer.
Status show_pull(const std::string& line, bool quiet) {
    const auto json = parse_json(line);
    if (!json || !json.value().is_object()) return ok();
    std::string error;
    std::string status;
    std::string id;
    JsonReader in(json.value());
    in.get("error", error);
    in.get("status", status);
    in.get("id", id);
    TRY(in.status());
    if (!error.empty()) return client::error_of(404, dump_json({{"message", error}}));
    if (quiet || status.empty() || status == "Downloading" || status == "Extracting") return ok();
    fmt::print(stderr, "{}{}\n", id.empty() ? "" : id + ": ", status);
    return ok();
}

Status pull(Client& client, const std::string& image, bool quiet) {
    TRY_ASSIGN(const auto reference, imagefs::oci::Reference::parse(image));
    const std::string tag = reference.digest ? reference.digest->to_string() : reference.tag;
    client::LineReader lines(
        [quiet](std::string_view line) { return show_pull(std::string(line), quiet); });
    const std::string name = image.substr(0, image.find('@'));
    const size_t colon = name.find(':', name.rfind('/') + 1);
    TRY(client.stream(make_request("POST", "/images/create",
                                   {{"fromImage", name.substr(0, colon)}, {"tag", tag}}),
                      [&](std::string_view bytes) { return lines.push(bytes); }));
    return lines.finish();
}

/// The new container's id. An image that isn't there is pulled, if it may be.
Result<std::string> create(Client& client, const ContainerOptions& options,
                           const engine::ContainerConfig& config) {
    client::Pairs query;
    if (!options.name().empty()) query.emplace_back("name", options.name());
    const auto request =
        make_request("POST", "/containers/create", std::move(query), engine::create_json(config));
    if (options.pull_policy() == "always") {
        TRY(pull(client, config.image, options.pulls_quietly()));
    }
    auto created = client.request(request);
    const bool missing = !created && created.error().code == ErrorCode::kNotFound &&
                         created.error().message.find("No such image") != std::string::npos;
    if (missing && options.pull_policy() == "missing" &&
        imagefs::oci::Reference::parse(config.image)) {
        if (!options.pulls_quietly()) {
            fmt::print(stderr, "Unable to find image '{}' locally\n", config.image);
        }
        TRY(pull(client, config.image, options.pulls_quietly()));
        created = client.request(request);
    } else if (missing) {
        return Error{ErrorCode::kNotFound,
                     created.error().message +
                         ": 'drupe pull' gets one from a registry, 'drupe load' "
                         "from an archive"};
    }
    if (!created) return created.error();
    return text_member(created.value().body, "Id");
}

/// What POST /containers/ID/wait says in the end.
Result<int> read_wait(Client& client) {
    std::string body;
    std::array<std::byte, 4096> buffer{};
    for (;;) {
        TRY_ASSIGN(const size_t size, client.read(buffer));
        if (size == 0) break;
        if (body.size() + size > kMaxAnswer)
            return Error{ErrorCode::kLimit, "the daemon's answer is too long"};
        body.append(reinterpret_cast<const char*>(buffer.data()), size);
    }
    TRY_ASSIGN(const auto json, parse_json(body));
    uint8_t code = 0;
    JsonReader in(json);
    in.get("StatusCode", code);
    const nlohmann::json* error = in.object("Error");
    TRY(in.status());
    if (error != nullptr) {
        std::string message;
        JsonReader said(*error);
        said.get("Message", message);
        if (!message.empty()) {
            static_cast<void>(fail(client::error_of(500, dump_json({{"message", message}}))));
        }
    }
    return static_cast<int>(code);
}

/// Tells a daemon of signals and of the terminal's size. What can't be told is let go: the end is
/// what is reported.
struct Teller {
    Client& client;
    std::string id;
    bool tty;
    bool sig_proxy;

    void size() const {
        const TerminalSize now = terminal_size(STDIN_FILENO);
        if (!tty || now.rows == 0 || now.columns == 0) return;
        static_cast<void>(client.request(
            make_request("POST", container_path(id, "/resize"),
                         {{"h", std::to_string(now.rows)}, {"w", std::to_string(now.columns)}})));
    }
    [[nodiscard]] bool signal(int number) const {
        if (number == SIGWINCH) {
            size();
            return true;
        }
        if (!sig_proxy)
            return number != SIGINT && number != SIGTERM && number != SIGHUP && number != SIGQUIT;
        static_cast<void>(client.request(make_request("POST", container_path(id, "/kill"),
                                                      {{"signal", std::to_string(number)}})));
        return true;
    }
};

Result<client::Hijacked> attach(Client& client, const std::string& id,
                                const RemoteAttach& options) {
    client::Pairs query{{"stream", "1"}, {"stdout", "1"}, {"stderr", "1"}};
    if (options.with_stdin) query.emplace_back("stdin", "1");
    query.emplace_back("detachKeys", options.detach_keys);
    return client.hijack(make_request("POST", container_path(id, "/attach"), std::move(query)));
}

/// Attaches, starts it if that is wanted, and stays to its end.
int stay_with_container(Client& client, const std::string& id, bool tty,
                        const std::string& condition, const RemoteAttach& options) {
    const int broken = options.start ? kUsageError : kFailure;
    if (auto keys = engine::parse_detach_keys(options.detach_keys); !keys)
        return fail(keys.error(), broken);
    auto signals = SignalPipe::install();
    if (!signals) return fail(signals.error(), broken);
    RemoteStreams streams;
    auto connection = attach(client, id, options);
    if (!connection) return fail(connection.error(), broken);
    streams.connection = std::move(connection).value();
    streams.tty = tty;
    streams.with_stdin = options.with_stdin;
    streams.detach_keys = options.detach_keys;
    auto waiting = connect_daemon();
    if (!waiting) return fail(waiting.error(), broken);
    const auto begun = waiting.value().begin(
        make_request("POST", container_path(id, "/wait"), {{"condition", condition}}));
    if (!begun) return fail(begun.error(), broken);
    if (options.start) {
        const auto started = client.begin(make_request("POST", container_path(id, "/start")));
        if (!started) return fail(started.error(), code_of_start(started.error()));
    }
    const Teller teller{client, id, tty, options.sig_proxy};
    teller.size();
    const auto end = stay_remote(std::move(streams), signals.value(),
                                 [&](int number) { return teller.signal(number); });
    restore_terminal();
    if (!end) return fail(end.error(), broken);
    if (end.value() == RemoteEnd::kDetached) return 0;
    if (end.value() == RemoteEnd::kOutputLost) return 128 + SIGPIPE;
    const auto code = read_wait(waiting.value());
    return code ? code.value() : fail(code.error(), broken);
}

}  // namespace

int remote_run(const ContainerOptions& options, const engine::ContainerConfig& config, bool detach,
               const std::string& detach_keys) {
    if (!detach && (config.timing || config.console)) {
        return fail(
            {ErrorCode::kUnsupported,
             "--timing and --console show what only the process that starts a machine sees: "
             "leave -H and $DRUPE_HOST away"},
            kUsageError);
    }
    auto client = connect_daemon();
    if (!client) return fail(client.error(), kUsageError);
    const auto id = create(client.value(), options, config);
    if (!id) return fail(id.error(), kUsageError);
    if (auto written = options.write_id_file(id.value()); !written) {
        return fail(written.error(), kUsageError);
    }
    if (detach) {
        const auto started =
            client.value().begin(make_request("POST", container_path(id.value(), "/start")));
        if (!started) return fail(started.error(), code_of_start(started.error()));
        return print(id.value() + "\n");
    }
    RemoteAttach attach;
    attach.start = true;
    attach.with_stdin = config.open_stdin;
    attach.detach_keys = detach_keys;
    return stay_with_container(client.value(), id.value(), config.tty,
                               config.auto_remove ? "removed" : "next-exit", attach);
}

int remote_create(const ContainerOptions& options, const engine::ContainerConfig& config) {
    auto client = connect_daemon();
    if (!client) return fail(client.error());
    const auto id = create(client.value(), options, config);
    if (!id) return fail(id.error());
    if (auto written = options.write_id_file(id.value()); !written) return fail(written.error());
    return print(id.value() + "\n");
}

int remote_attach(const std::string& name, const RemoteAttach& asked) {
    auto client = connect_daemon();
    if (!client) return fail(client.error());
    const auto found = client.value().request(make_request("GET", container_path(name, "/json")));
    if (!found) return fail(found.error());
    const auto json = parse_json(found.value().body);
    if (!json) return fail(json.error());
    bool tty = false;
    bool open_stdin = false;
    bool auto_remove = false;
    bool running = false;
    bool paused = false;
    JsonReader in(json.value());
    if (const nlohmann::json* config = in.object("Config")) {
        JsonReader part(*config);
        part.get("Tty", tty);
        part.get("OpenStdin", open_stdin);
        in.check(part.status());
    }
    if (const nlohmann::json* host = in.object("HostConfig")) {
        JsonReader part(*host);
        part.get("AutoRemove", auto_remove);
        in.check(part.status());
    }
    if (const nlohmann::json* state = in.object("State")) {
        JsonReader part(*state);
        part.get("Running", running);
        part.get("Paused", paused);
        in.check(part.status());
    }
    if (auto read = in.status(); !read) return fail(read.error());
    // A daemon would have it wait for a start.
    if (!asked.start && (paused || !running)) {
        return fail({ErrorCode::kConflict,
                     paused ? "cannot attach to a paused container, unpause it first"
                            : "cannot attach to a stopped container, start it first"});
    }
    RemoteAttach options = asked;
    options.with_stdin = asked.with_stdin && open_stdin;
    if (tty && options.with_stdin && ::isatty(STDIN_FILENO) == 0) {
        return fail({ErrorCode::kInvalid, "the input device is not a TTY"});
    }
    const char* condition = auto_remove ? "removed" : options.start ? "next-exit" : "not-running";
    return stay_with_container(client.value(), name, tty, condition, options);
}

int remote_wait(const std::vector<std::string>& names) {
    auto client = connect_daemon();
    if (!client) return fail(client.error());
    return for_each(names, [&](const std::string& name) -> Result<std::string> {
        TRY(client.value().begin(make_request("POST", container_path(name, "/wait"))));
        TRY_ASSIGN(const int code, read_wait(client.value()));
        return std::to_string(code);
    });
}

}  // namespace drupe::cli
