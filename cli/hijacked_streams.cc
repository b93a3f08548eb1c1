#include "cli/hijacked_streams.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <optional>
#include <thread>

#include "api/client/frames.h"
#include "api/engine/detach_keys.h"
#include "cli/terminal.h"

namespace drupe::cli {
namespace {

constexpr size_t kReadBytes = 64 << 10;
using client::FrameDecoder;

/// Both threads end with the process; what they share outlives who started them.
struct Shared {
    HijackedStreams streams;
    Fd event;
    std::atomic<bool> detached = false;
    std::atomic<bool> ended = false;
    std::atomic<bool> lost = false;
    std::optional<Error> error;  ///< Written before ended.

    [[nodiscard]] int socket() const { return streams.connection.socket.get(); }
};

Status await(int fd, short events) {
    pollfd poll{fd, events, 0};
    while (::poll(&poll, 1, -1) < 0) {
        if (errno != EINTR) return os_error("poll");
    }
    return ok();
}

Status write_out(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n >= 0) {
            bytes.remove_prefix(static_cast<size_t>(n));
        } else if (errno == EAGAIN) {
            TRY(await(fd, POLLOUT));
        } else if (errno != EINTR) {
            return os_error("write");
        }
    }
    return ok();
}

Result<size_t> read_some(int fd, std::span<char> out) {
    for (;;) {
        const ssize_t n = ::read(fd, out.data(), out.size());
        if (n >= 0) return static_cast<size_t>(n);
        if (errno == EAGAIN) {
            TRY(await(fd, POLLIN));
        } else if (errno != EINTR) {
            return os_error("read");
        }
    }
}

bool send_in(int socket, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
}

Status pump_output(Shared& shared) {
    const auto put = [&](int fd, std::string_view bytes) {
        auto written = write_out(fd, bytes);
        if (!written) shared.lost = true;
        return written;
    };
    FrameDecoder frames([&](FrameDecoder::Stream stream, std::string_view bytes) {
        return put(stream == FrameDecoder::Stream::kStdout ? STDOUT_FILENO : STDERR_FILENO, bytes);
    });
    const auto take = [&](std::string_view bytes) {
        return shared.streams.tty ? put(STDOUT_FILENO, bytes) : frames.push(bytes);
    };
    TRY(take(shared.streams.connection.early));
    std::array<char, kReadBytes> buffer;  // not zeroed: most of it is never touched
    for (;;) {
        const auto got = read_some(shared.socket(), buffer);
        if (!got && got.error().os_errno == ECONNRESET) break;
        if (!got) return got.error();
        if (got.value() == 0) break;
        TRY(take({buffer.data(), got.value()}));
    }
    return shared.streams.tty ? Status(ok()) : frames.finish();
}

void pump_input(Shared& shared, const std::string& keys) {
    engine::DetachKeys filter(keys);
    std::array<char, kReadBytes> buffer;  // not zeroed: most of it is never touched
    for (;;) {
        const auto got = read_some(STDIN_FILENO, buffer);
        if (!got || got.value() == 0) break;
        const std::string_view typed{buffer.data(), got.value()};
        if (!send_in(shared.socket(), shared.streams.tty ? filter.pass(typed) : typed)) return;
        if (!filter.matched()) continue;
        shared.detached = true;
        signal_eventfd(shared.event.get());
        return;
    }
    // The end of ours is the end of theirs.
    ::shutdown(shared.socket(), SHUT_WR);
}

}  // namespace

Result<StreamsEnd> stay_with_streams(HijackedStreams streams, SignalPipe& signals,
                                     const std::function<bool(int)>& on_signal) {
    auto shared = std::make_shared<Shared>();
    TRY_ASSIGN(shared->event, make_eventfd());
    std::string keys;
    std::optional<RawTerminal> raw;
    if (streams.tty && streams.with_stdin) {
        TRY_ASSIGN(keys, engine::parse_detach_keys(streams.detach_keys));
        TRY_ASSIGN(auto terminal, RawTerminal::enter(STDIN_FILENO));
        raw.emplace(std::move(terminal));
    }
    shared->streams = std::move(streams);
    std::thread([shared] {
        auto pumped = pump_output(*shared);
        if (!pumped) shared->error = pumped.error();
        shared->ended = true;
        signal_eventfd(shared->event.get());
    }).detach();
    if (shared->streams.with_stdin) {
        std::thread([shared, keys] { pump_input(*shared, keys); }).detach();
    }
    for (;;) {
        if (shared->ended) {
            if (shared->lost) return StreamsEnd::kOutputLost;
            if (shared->error) return *shared->error;
            return StreamsEnd::kEnded;
        }
        if (shared->detached) return StreamsEnd::kDetached;
        std::array<pollfd, 2> polls{{{signals.fd(), POLLIN, 0}, {shared->event.get(), POLLIN, 0}}};
        if (::poll(polls.data(), polls.size(), -1) < 0) {
            if (errno == EINTR) continue;
            return os_error("poll");
        }
        if (polls[1].revents != 0) drain_eventfd(shared->event.get());
        while (const auto number = signals.next()) {
            if (!on_signal(*number)) return StreamsEnd::kDetached;
        }
    }
}

}  // namespace drupe::cli
