#include "cli/session.h"

#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

#include <csignal>
#include <vector>

#include "api/engine/clock.h"
#include "cli/command.h"
#include "cli/timing.h"

namespace drupe::cli {
namespace {

constexpr int kPipeLost = 128 + SIGPIPE;
constexpr int kConsoleTailMs = 20'000;

/// Why a workload that didn't get to its own end didn't.
void say_why(const engine::Ended& ended) {
    if (ended.record.reason == "exited" || ended.record.error.empty()) return;
    static_cast<void>(fail({ErrorCode::kIo, ended.record.error}));
}

/// This program once more, in a session of its own and without our streams: nobody who waits for
/// the end of our output may have to wait for this one's.
void start_drupe(std::vector<std::string> words) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_RDWR, 0);
    }
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    std::string program = "drupe";
    std::vector<char*> argv{program.data()};
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_t pid = 0;
    ::posix_spawn(&pid, "/proc/self/exe", &files, &attributes, argv.data(), environ);
}

}  // namespace

Result<engine::Local*> open_engine() {
    static engine::Local* local = nullptr;
    TRY_ASSIGN(engine::Local opened, engine::open_local());
    local = new engine::Local(std::move(opened));
    return local;
}

Status check_terminal(bool tty, bool with_stdin) {
    if (!tty || !with_stdin || ::isatty(STDIN_FILENO) != 0) return ok();
    return Error{ErrorCode::kInvalid,
                 "the input device is not a TTY: leave -t away to connect a pipe or a file"};
}

void clean_up_later(const std::string& id) {
    start_drupe({"clean-up", id});  // if it can't be started the next sweep does its work
}

void maintain_later() {
    start_drupe({"system", "maintain", "--no-wait"});  // or the next commit's does the work
}

int stay_with(engine::Local& local, engine::Machine machine, Streams& streams, SignalPipe& signals,
              const ForegroundOptions& options) {
    if (auto started = streams.start(); !started) {
        if (options.launched) {
            auto killed = local.engine->kill(machine.container.id, SIGKILL);
            if (!killed) static_cast<void>(fail(killed.error()));
        }
        return fail(started.error(), kUsageError);
    }
    Foreground foreground(streams, signals, options.tty, options.sig_proxy);
    auto left = foreground.stay(machine.client, protocol::kWorkloadSession, machine.wait_id);
    streams.restore_terminal();
    if (!left) return fail(left.error(), kUsageError);
    if (left.value().detached) return 0;
    if (left.value().output_lost) return kPipeLost;
    machine.ended = std::move(left.value().reply);
    if (!machine.ended) machine.ended.emplace();  // hung up: there is nothing to wait for
    std::map<std::string, uint64_t> marks = machine.marks;
    const std::string id = machine.container.id;
    auto ended = local.engine->conclude(machine);
    if (!ended) return fail(ended.error(), kUsageError);
    streams.await_console(kConsoleTailMs);
    say_why(ended.value());
    if (options.timing) {
        // The whole teardown is part of the account.
        if (auto done = local.engine->clean_up(id); !done) return fail(done.error(), kUsageError);
        marks["begin"] = options.begin_ns;
        marks["end"] = engine::monotonic_ns();
        const std::string report = timing_report(marks, ended.value().record);
        std::fputs(report.c_str(), stderr);
    } else {
        clean_up_later(id);
    }
    return static_cast<int>(ended.value().container.exit_code);
}

int see_it_start(engine::Local& local, engine::Machine& machine) {
    auto started = local.engine->await_started(machine);
    if (!started) return fail(started.error(), kUsageError);
    if (started.value()) return 0;
    auto ended = local.engine->conclude(machine);
    if (!ended) return fail(ended.error(), kUsageError);
    clean_up_later(machine.container.id);
    if (ended.value().record.reason == "exited") return 0;  // it was that quick
    say_why(ended.value());
    return static_cast<int>(ended.value().container.exit_code);
}

}  // namespace drupe::cli
