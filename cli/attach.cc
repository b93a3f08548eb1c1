#include "cli/attach.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <optional>
#include <thread>

#include "api/engine/clock.h"
#include "api/engine/detach_keys.h"
#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/hijacked_streams.h"
#include "cli/terminal.h"
#include "cli/timing.h"
#include "cli/wait.h"

namespace drupe::cli {
namespace {

using client::Client;

constexpr int kNotFound = 127;
constexpr int kNotExecutable = 126;

/// Tells the daemon of signals and of the terminal's size. What can't be told is let go: the end is
/// what is reported.
struct Teller {
    Client& client;
    std::string id;
    bool tty;
    bool sig_proxy;
    const std::atomic<bool>& started;  ///< Its start has been answered.

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
        // One that comes before there is a machine waits for it.
        constexpr unsigned kAgainUs = 20'000;
        const auto request =
            make_request("POST", container_path(id, "/kill"), {{"signal", std::to_string(number)}});
        for (;;) {
            const bool last = started;
            const auto sent = client.request(request);
            if (sent || last || sent.error().code != ErrorCode::kConflict) return true;
            ::usleep(kAgainUs);
        }
    }
};

Result<client::Hijacked> connect_streams(Client& client, const std::string& id,
                                         const Attach& options) {
    client::Pairs query{{"stream", "1"}, {"stdout", "1"}, {"stderr", "1"}};
    if (options.with_stdin) query.emplace_back("stdin", "1");
    query.emplace_back("detachKeys", options.detach_keys);
    return client.hijack(make_request("POST", container_path(id, "/attach"), std::move(query)));
}

/// A start on a thread of its own: a signal is heard meanwhile.
class Start {
  public:
    /// streams: the attached socket, which has no more to say if the start fails.
    Start(Client& client, const std::string& id, const Attach& options, int streams) {
        if (!options.start) {
            answered_ = true;
            return;
        }
        thread_ = std::thread([this, &client, id, tty = options.tty, streams] {
            const auto started = client.begin(make_request("POST", container_path(id, "/start")));
            answered_ = true;
            if (started) return Teller{client, id, tty, false, answered_}.size();
            failed_ = started.error();
            ::shutdown(streams, SHUT_RD);
        });
    }
    Start(const Start&) = delete;
    Start& operator=(const Start&) = delete;
    ~Start() { static_cast<void>(finish()); }
    /// Waits for its answer; why it failed, if it did.
    std::optional<Error> finish() {
        if (thread_.joinable()) thread_.join();
        return failed_;
    }

    [[nodiscard]] const std::atomic<bool>& answered() const { return answered_; }

  private:
    std::atomic<bool> answered_ = false;
    std::thread thread_;
    std::optional<Error> failed_;  // the thread's until it is joined
};

const char* condition_of(const Attach& options) {
    if (options.auto_remove) return "removed";
    return options.start ? "next-exit" : "not-running";
}

/// What it ended with, once its output is through.
int conclude(const ContainerEnd& end, const Attach& options) {
    if (!end.error.empty()) static_cast<void>(fail({ErrorCode::kIo, end.error}));
    if (options.timing) {
        auto marks = end.marks;
        marks["begin"] = options.begin_ns;
        marks["created"] = options.created_ns;
        marks["end"] = engine::monotonic_ns();
        fmt::print(stderr, "{}", timing_report(marks, end.counts));
    }
    return end.exit_code;
}

}  // namespace

int code_of_start(const Error& error) {
    // Only the text tells.
    const auto says = [&](const char* what) {
        return error.message.find(what) != std::string::npos;
    };
    if (says("executable file not found") || says("no such file or directory")) return kNotFound;
    if (says("permission denied") || says("is a directory")) return kNotExecutable;
    return kUsageError;
}

Status check_terminal(bool tty, bool with_stdin) {
    if (!tty || !with_stdin || ::isatty(STDIN_FILENO) != 0) return ok();
    return Error{ErrorCode::kInvalid,
                 "the input device is not a TTY: leave -t away to connect a pipe or a file"};
}

int stay_with(Client& client, const std::string& id, const Attach& options) {
    const int broken = options.start ? kUsageError : kFailure;
    if (auto keys = engine::parse_detach_keys(options.detach_keys); !keys)
        return fail(keys.error(), broken);
    auto signals = SignalPipe::install();
    if (!signals) return fail(signals.error(), broken);
    HijackedStreams streams;
    auto connection = connect_streams(client, id, options);
    if (!connection) return fail(connection.error(), broken);
    streams.connection = std::move(connection).value();
    streams.tty = options.tty;
    streams.with_stdin = options.with_stdin;
    streams.detach_keys = options.detach_keys;
    Client waiting = client.another();
    const auto begun = waiting.begin(
        make_request("POST", container_path(id, "/wait"), {{"condition", condition_of(options)}}));
    if (!begun) return fail(begun.error(), broken);
    Client telling = client.another();
    Start start(client, id, options, streams.connection.socket.get());
    const Teller teller{telling, id, options.tty, options.sig_proxy, start.answered()};
    if (!options.start) teller.size();
    const auto left = stay_with_streams(std::move(streams), signals.value(),
                                        [&](int number) { return teller.signal(number); });
    restore_terminal();
    if (const auto failed = start.finish()) return fail(*failed, code_of_start(*failed));
    if (!left) return fail(left.error(), broken);
    if (left.value() == StreamsEnd::kDetached) return 0;
    if (left.value() == StreamsEnd::kOutputLost) return 128 + SIGPIPE;
    const auto end = read_end(waiting);
    return end ? conclude(end.value(), options) : fail(end.error(), broken);
}

int attach_to(const std::string& name, Attach options) {
    auto client = connect_daemon();
    if (!client) return fail(client.error());
    const auto json = ask(client.value(), make_request("GET", container_path(name, "/json")));
    if (!json) return fail(json.error());
    bool open_stdin = false;
    bool running = false;
    bool paused = false;
    JsonReader in(json.value());
    if (const nlohmann::json* config = in.object("Config")) {
        JsonReader part(*config);
        part.get("Tty", options.tty);
        part.get("OpenStdin", open_stdin);
        in.check(part.status());
    }
    if (const nlohmann::json* host = in.object("HostConfig")) {
        JsonReader part(*host);
        part.get("AutoRemove", options.auto_remove);
        in.check(part.status());
    }
    if (const nlohmann::json* state = in.object("State")) {
        JsonReader part(*state);
        part.get("Running", running);
        part.get("Paused", paused);
        in.check(part.status());
    }
    if (auto read = in.status(); !read) return fail(read.error());
    // The daemon would have it wait for a start.
    if (!options.start && (paused || !running)) {
        return fail({ErrorCode::kConflict,
                     paused ? "cannot attach to a paused container, unpause it first"
                            : "cannot attach to a stopped container, start it first"});
    }
    options.with_stdin = options.with_stdin && open_stdin;
    if (auto checked = check_terminal(options.tty, options.with_stdin); !checked) {
        return fail(checked.error());
    }
    return stay_with(client.value(), name, options);
}

int attach_command(int argc, char** argv) {
    std::vector<std::string> names;
    bool no_stdin = false;
    bool no_proxy = false;
    Attach options;
    options.detach_keys = "ctrl-p,ctrl-q";
    Args args("attach", "CONTAINER",
              "Connect to the streams of a running container; returns its exit code.");
    args.flag("--no-stdin", no_stdin, "Don't connect standard input");
    args.flag("--no-sig-proxy", no_proxy, "Signals end this command, not the workload");
    args.value("--detach-keys", "KEYS", options.detach_keys,
               "What leaves a terminal without ending it");
    args.operands(names, 1, 1);
    args.example("drupe attach web", "watch what it prints from now on");
    if (const auto code = args.parse(argc, argv)) return *code;
    options.with_stdin = !no_stdin;
    options.sig_proxy = !no_proxy;
    return attach_to(names.front(), std::move(options));
}

}  // namespace drupe::cli
