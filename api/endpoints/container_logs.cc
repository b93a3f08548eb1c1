// GET /containers/{id}/logs

#include <poll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>

#include "api/daemon/stream_pump.h"
#include "api/endpoints/containers.h"
#include "api/endpoints/log_stream.h"
#include "api/engine/clock.h"
#include "api/engine/time_text.h"

namespace drupe::endpoints {
namespace {

using engine::Container;

constexpr size_t kBatchBytes = 64 << 10;
constexpr int kLookAgainMs = 500;  // at whether it still runs, while nothing is written

/// Seconds with a fraction, or RFC 3339; "0" and "" are no limit.
Result<uint64_t> moment(const Call& call, const char* name, uint64_t missing) {
    const std::string text = call.text(name);
    if (text.empty() || text == "0") return missing;
    const auto parsed = engine::parse_moment(text, engine::realtime_ns());
    if (!parsed) {
        return Error{ErrorCode::kInvalid, std::string("parameter ") + name + ": '" +
                                              text.substr(0, 64) + "' is no time"};
    }
    return *parsed;
}

Result<LogWish> read_wish(const Call& call) {
    LogWish wish;
    wish.with_stdout = call.flag("stdout");
    wish.with_stderr = call.flag("stderr");
    wish.timestamps = call.flag("timestamps");
    wish.details = call.flag("details");
    if (!wish.with_stdout && !wish.with_stderr) {
        return Error{ErrorCode::kInvalid, "Bad parameters: you must choose at least one stream"};
    }
    TRY_ASSIGN(wish.since_ns, moment(call, "since", 0));
    TRY_ASSIGN(wish.until_ns, moment(call, "until", UINT64_MAX));
    return wish;
}

Status seek(const Call& call, engine::LogReader& reader) {
    const std::string text = call.text("tail");
    if (text.empty() || text == "all") return ok();
    uint64_t lines = 0;
    const char* const end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, lines);
    if (parsed.ec != std::errc() || parsed.ptr != end) return ok();  // as Docker: all
    return reader.tail(lines);
}

/// Waits until something is written into the folder, the client goes, or a while; false: it went.
bool await_more(int inotify, int client) {
    pollfd polls[2]{{inotify, POLLIN, 0}, {client, POLLRDHUP, 0}};
    ::poll(polls, 2, kLookAgainMs);
    char events[4096];
    while (inotify >= 0 && ::read(inotify, events, sizeof events) > 0) {
    }
    return (polls[1].revents & (POLLHUP | POLLRDHUP | POLLERR)) == 0;
}

}  // namespace

Result<bool> write_log(engine::LogReader& reader, const LogWish& wish,
                       const std::function<Status(std::string_view)>& write) {
    std::string batch;
    for (;;) {
        TRY_ASSIGN(const auto entry, reader.next());
        if (!entry) break;
        if (entry->at_ns < wish.since_ns) continue;
        if (entry->at_ns > wish.until_ns) {
            TRY(write(batch));
            return false;
        }
        if (entry->is_stderr ? !wish.with_stderr : !wish.with_stdout) continue;
        std::string line;
        if (wish.timestamps) line = engine::time_text(entry->at_ns) + " ";
        if (wish.details) line += ' ';
        line += entry->text;
        if (wish.framed) batch += daemon::frame_head(entry->is_stderr ? 2 : 1, line.size());
        batch += line;
        if (batch.size() < kBatchBytes) continue;
        TRY(write(batch));
        batch.clear();
    }
    TRY(write(batch));
    return true;
}

Status send_log(const Call& call, const Container& container, int fd, bool with_stdout,
                bool with_stderr) {
    engine::LogReader reader(call.daemon.paths.log_file(container.id));
    LogWish wish;
    wish.with_stdout = with_stdout;
    wish.with_stderr = with_stderr;
    wish.framed = !container.config.tty;
    TRY(write_log(reader, wish, [fd](std::string_view bytes) -> Status {
        while (!bytes.empty()) {
            const ssize_t sent =
                ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent > 0) {
                bytes.remove_prefix(static_cast<size_t>(sent));
            } else if (errno == EAGAIN) {
                pollfd poll{fd, POLLOUT, 0};
                ::poll(&poll, 1, -1);
            } else if (errno != EINTR) {
                return os_error("send to the client");
            }
        }
        return ok();
    }));
    return ok();
}

Status container_logs(const Call& call) {
    TRY_ASSIGN(LogWish wish, read_wish(call));
    const auto find = [&]() -> Result<Container> {
        TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
        return engine->find(call.id());
    };
    TRY_ASSIGN(const Container container, find());
    if (container.config.log.driver == "none") {
        return Error{ErrorCode::kUnsupported, "configured logging driver does not support reading"};
    }
    wish.framed = !container.config.tty;
    const bool follow = call.flag("follow");
    engine::LogReader reader(call.daemon.paths.log_file(container.id));
    TRY(seek(call, reader));
    const Fd inotify(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (follow && inotify.valid()) {
        ::inotify_add_watch(inotify.get(), call.daemon.paths.container_dir(container.id).c_str(),
                            IN_MODIFY | IN_CREATE);
    }
    TRY(call.http.begin(200, stream_type(wish.framed)));
    for (;;) {
        // Asked before reading: what was written before the end is read after it.
        bool runs = false;
        if (follow) {
            const auto now = find();
            runs = now && now.value().id == container.id && engine::is_active(now.value().state);
        }
        TRY_ASSIGN(const bool more, write_log(reader, wish, [&](std::string_view data) {
                       return call.http.write(data);
                   }));
        if (!more || !runs || engine::realtime_ns() > wish.until_ns) return ok();
        if (!await_more(inotify.get(), call.http.client_fd())) return ok();
    }
}

}  // namespace drupe::endpoints
