#include <fmt/format.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <charconv>

#include "api/engine/clock.h"
#include "api/engine/local.h"
#include "api/engine/log_reader.h"
#include "api/engine/time_text.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/remote.h"
#include "cli/session.h"

namespace drupe::cli {
namespace {

constexpr int kLookAgainMs = 500;  // at whether it still runs, while nothing is written

struct LogOptions {
    bool follow = false;
    bool timestamps = false;
    std::string tail = "all";
    std::string since;
    std::string until;
    uint64_t since_ns = 0;
    uint64_t until_ns = UINT64_MAX;
};

Status read_times(LogOptions& options) {
    const uint64_t now = engine::realtime_ns();
    const auto read = [&](const std::string& text, uint64_t& out) -> Status {
        if (text.empty()) return ok();
        const auto moment = engine::parse_moment(text, now);
        if (!moment) {
            return Error{ErrorCode::kInvalid, "can't read the time '" + text +
                                                  "': write 2026-01-31T12:00:00Z, seconds since "
                                                  "1970, or how long ago, as in 10m"};
        }
        out = *moment;
        return ok();
    };
    TRY(read(options.since, options.since_ns));
    return read(options.until, options.until_ns);
}

class LogPrinter {
  public:
    explicit LogPrinter(const LogOptions& options) : options_(options) {}

    /// All there is now; false: nothing later than --until will come, or nobody reads.
    Result<bool> print_all(engine::LogReader& reader) {
        for (;;) {
            TRY_ASSIGN(const auto entry, reader.next());
            if (!entry) break;
            if (entry->at_ns < options_.since_ns) continue;
            if (entry->at_ns > options_.until_ns) return false;
            put(*entry);
            if (failed_) return false;
        }
        return std::fflush(stdout) == 0;
    }

  private:
    void put(const engine::LogEntry& entry) {
        std::FILE* out = entry.is_stderr ? stderr : stdout;
        // The two streams keep their order where they end up in one place.
        if (out == stderr) std::fflush(stdout);
        if (options_.timestamps) {
            const std::string time = engine::time_text(entry.at_ns) + " ";
            std::fwrite(time.data(), 1, time.size(), out);
        }
        failed_ = std::fwrite(entry.text.data(), 1, entry.text.size(), out) != entry.text.size();
    }

    const LogOptions& options_;
    bool failed_ = false;
};

/// Waits until something is written into the folder, or a while.
class FolderWatch {
  public:
    explicit FolderWatch(const std::string& folder)
        : fd_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
        if (fd_.valid()) ::inotify_add_watch(fd_.get(), folder.c_str(), IN_MODIFY | IN_CREATE);
    }
    void wait() const {
        pollfd poll{fd_.get(), POLLIN, 0};
        ::poll(&poll, 1, kLookAgainMs);
        char events[4096];
        while (fd_.valid() && ::read(fd_.get(), events, sizeof events) > 0) {
        }
    }

  private:
    Fd fd_;
};

Status print_logs(engine::Local& local, const std::string& name, const LogOptions& options) {
    TRY_ASSIGN(const auto container, local.engine->find(name));
    const engine::Paths& paths = local.engine->paths();
    engine::LogReader reader(paths.log_file(container.id));
    if (options.tail != "all") {
        uint64_t lines = 0;
        const char* end = options.tail.data() + options.tail.size();
        const auto [rest, error] = std::from_chars(options.tail.data(), end, lines);
        if (error != std::errc() || rest != end) {
            return Error{ErrorCode::kInvalid, "--tail takes a number or 'all'"};
        }
        TRY(reader.tail(lines));
    }
    const FolderWatch watch(paths.container_dir(container.id));
    LogPrinter printer(options);
    for (;;) {
        // Asked before reading: what was written before the end is read after it.
        const auto now = options.follow ? local.engine->find(container.id) : container;
        const bool runs = now && now.value().state == engine::State::kRunning;
        TRY_ASSIGN(const bool more, printer.print_all(reader));
        if (!more || !options.follow || !runs) return ok();
        watch.wait();
    }
}

/// Moments as the API takes them: SECONDS.NANOSECONDS.
std::vector<std::pair<std::string, std::string>> query_of(const LogOptions& options) {
    constexpr uint64_t kNano = 1'000'000'000;
    const auto moment = [](uint64_t ns) { return fmt::format("{}.{:09}", ns / kNano, ns % kNano); };
    std::vector<std::pair<std::string, std::string>> query{{"tail", options.tail}};
    if (options.follow) query.emplace_back("follow", "1");
    if (options.timestamps) query.emplace_back("timestamps", "1");
    if (!options.since.empty()) query.emplace_back("since", moment(options.since_ns));
    if (!options.until.empty()) query.emplace_back("until", moment(options.until_ns));
    return query;
}

}  // namespace

int logs_command(int argc, char** argv) {
    std::vector<std::string> names;
    LogOptions options;
    Args args("logs", "CONTAINER", "Print what a container has written to its output.");
    args.flag("-f,--follow", options.follow, "Go on with what it writes from now on");
    args.flag("-t,--timestamps", options.timestamps, "Print when each line was written");
    args.value("-n,--tail", "LINES", options.tail, "Begin with the last ones (default all)");
    args.value("--since", "TIME", options.since, "Only what was written after it");
    args.value("--until", "TIME", options.until, "Only what was written before it");
    args.operands(names, 1, 1);
    args.example("drupe logs -f --tail 20 web", "the last lines, and what comes");
    args.example("drupe logs --since 10m web", "of the last ten minutes");
    if (const auto code = args.parse(argc, argv)) return *code;
    if (auto times = read_times(options); !times) return fail(times.error());
    if (over_api()) return remote_logs(names.front(), query_of(options));
    auto local = open_engine();
    if (!local) return fail(local.error());
    auto printed = print_logs(*local.value(), names.front(), options);
    return printed ? 0 : fail(printed.error());
}

}  // namespace drupe::cli
