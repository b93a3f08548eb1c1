#include <fmt/format.h>
#include <unistd.h>

#include <charconv>

#include "api/client/frames.h"
#include "api/engine/clock.h"
#include "api/engine/time_text.h"
#include "base/fd.h"
#include "cli/command.h"
#include "cli/daemon.h"

namespace drupe::cli {
namespace {

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

/// Moments as the API takes them: SECONDS.NANOSECONDS.
client::Pairs query_of(const LogOptions& options) {
    constexpr uint64_t kNano = 1'000'000'000;
    const auto moment = [](uint64_t ns) { return fmt::format("{}.{:09}", ns / kNano, ns % kNano); };
    client::Pairs query{{"stdout", "1"}, {"stderr", "1"}, {"tail", options.tail}};
    if (options.follow) query.emplace_back("follow", "1");
    if (options.timestamps) query.emplace_back("timestamps", "1");
    if (!options.since.empty()) query.emplace_back("since", moment(options.since_ns));
    if (!options.until.empty()) query.emplace_back("until", moment(options.until_ns));
    return query;
}

Status write_out(int fd, std::string_view bytes) {
    return write_all(fd, std::as_bytes(std::span(bytes)));
}

Status print_logs(const std::string& name, const LogOptions& options) {
    TRY_ASSIGN(auto client, connect_daemon());
    TRY_ASSIGN(const auto head,
               client.begin(make_request("GET", container_path(name, "/logs"), query_of(options))));
    const bool framed = head.header("content-type").find("multiplexed") != std::string::npos;
    client::FrameDecoder frames([](client::FrameDecoder::Stream stream, std::string_view bytes) {
        return write_out(
            stream == client::FrameDecoder::Stream::kStdout ? STDOUT_FILENO : STDERR_FILENO, bytes);
    });
    std::vector<std::byte> buffer(64 << 10);
    for (;;) {
        TRY_ASSIGN(const size_t size, client.read(buffer));
        if (size == 0) return framed ? frames.finish() : Status(ok());
        const std::string_view bytes{reinterpret_cast<const char*>(buffer.data()), size};
        TRY(framed ? frames.push(bytes) : write_out(STDOUT_FILENO, bytes));
    }
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
    auto printed = print_logs(names.front(), options);
    return printed ? 0 : fail(printed.error());
}

}  // namespace drupe::cli
