#include "cli/streams.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <thread>
#include <vector>

#include "api/engine/detach_keys.h"

namespace drupe::cli {
namespace {

constexpr size_t kPipeBytes = 1 << 20;
constexpr size_t kCopyBytes = 64 << 10;
constexpr size_t kTypedBytes = 4096;

enum class CopyEnd : uint8_t { kSourceEnded, kSinkLost };

/// Waits for a descriptor that somebody has made non-blocking (a terminal shared with them).
void await(int fd, short events) {
    pollfd poll{fd, events, 0};
    while (::poll(&poll, 1, -1) < 0 && errno == EINTR) {
    }
}

bool write_blocking(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
            await(fd, POLLOUT);
            continue;
        }
        if (n < 0) return false;
        bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
}

/// -1 with errno EAGAIN never comes back.
ssize_t read_blocking(int fd, char* out, size_t size) {
    for (;;) {
        const ssize_t n = ::read(fd, out, size);
        if (n >= 0) return n;
        if (errno == EAGAIN) {
            await(fd, POLLIN);
        } else if (errno != EINTR) {
            return n;
        }
    }
}

/// Moves bytes until the source ends or the sink fails; at least one of them is a pipe.
CopyEnd copy(int from, int to) {
    for (;;) {
        const ssize_t n = ::splice(from, nullptr, to, nullptr, kPipeBytes, SPLICE_F_MOVE);
        if (n > 0) continue;
        if (n == 0) return CopyEnd::kSourceEnded;
        if (errno == EINTR) continue;
        if (errno == EPIPE) return CopyEnd::kSinkLost;
        break;  // EINVAL: not for this kind of file. Anything else will show again below.
    }
    std::vector<char> buffer(kCopyBytes);
    for (;;) {
        const ssize_t n = read_blocking(from, buffer.data(), buffer.size());
        if (n <= 0) return CopyEnd::kSourceEnded;
        if (!write_blocking(to, {buffer.data(), static_cast<size_t>(n)})) return CopyEnd::kSinkLost;
    }
}

}  // namespace

struct Streams::Shared {
    Fd event;
    std::atomic<int> outputs = 0;
    std::atomic<int> consoles = 0;
    std::atomic<bool> lost = false;
    std::atomic<bool> detached = false;
};

Result<Streams> Streams::make(const StreamOptions& options) {
    Streams streams;
    streams.options_ = options;
    streams.shared_ = std::make_shared<Shared>();
    TRY_ASSIGN(streams.shared_->event, make_eventfd());
    // Larger pipes are a matter of speed only: a refusal (the user's limit) is fine.
    const auto widen = [](int fd) { static_cast<void>(::fcntl(fd, F_SETPIPE_SZ, kPipeBytes)); };
    if (options.with_stdin) {
        TRY_ASSIGN(FdPair pipe, make_pipe());
        streams.far_.stdin_fd = std::move(pipe.first);
        streams.to_stdin_ = std::move(pipe.second);
        widen(streams.to_stdin_.get());
    }
    if (options.with_stdout) {
        TRY_ASSIGN(FdPair pipe, make_pipe());
        streams.from_stdout_ = std::move(pipe.first);
        streams.far_.stdout_fd = std::move(pipe.second);
        widen(streams.from_stdout_.get());
    }
    if (options.with_stderr && !options.tty) {
        TRY_ASSIGN(FdPair pipe, make_pipe());
        streams.from_stderr_ = std::move(pipe.first);
        streams.far_.stderr_fd = std::move(pipe.second);
    }
    if (options.with_console) {
        TRY_ASSIGN(FdPair pipe, make_pipe());
        streams.from_console_ = std::move(pipe.first);
        streams.far_console_ = std::move(pipe.second);
    }
    return streams;
}

Status Streams::start() {
    const auto start_output = [this](Fd from, int to, std::atomic<int> Shared::*running) {
        if (!from.valid()) return;
        ++((*shared_).*running);
        std::thread([shared = shared_, from = std::move(from), to, running]() mutable {
            if (copy(from.get(), to) == CopyEnd::kSinkLost) shared->lost = true;
            from.reset();
            --((*shared).*running);
            signal_eventfd(shared->event.get());
        }).detach();
    };
    start_output(std::move(from_stdout_), STDOUT_FILENO, &Shared::outputs);
    start_output(std::move(from_stderr_), STDERR_FILENO, &Shared::outputs);
    start_output(std::move(from_console_), STDERR_FILENO, &Shared::consoles);
    if (!to_stdin_.valid()) return ok();

    if (!options_.tty) {
        std::thread([to = std::move(to_stdin_)] {
            copy(STDIN_FILENO, to.get());
            // The end of ours is the end of theirs: the pipe closes.
        }).detach();
        return ok();
    }
    TRY_ASSIGN(const std::string keys, engine::parse_detach_keys(options_.detach_keys));
    TRY_ASSIGN(auto raw, RawTerminal::enter(STDIN_FILENO));
    raw_.emplace(std::move(raw));
    std::thread([shared = shared_, to = std::move(to_stdin_), keys] {
        engine::DetachKeys filter(keys);
        std::array<char, kTypedBytes> typed{};
        for (;;) {
            const ssize_t n = read_blocking(STDIN_FILENO, typed.data(), typed.size());
            if (n <= 0) return;
            const std::string bytes = filter.pass({typed.data(), static_cast<size_t>(n)});
            if (!write_blocking(to.get(), bytes)) return;
            if (!filter.matched()) continue;
            shared->detached = true;
            signal_eventfd(shared->event.get());
            return;
        }
    }).detach();
    return ok();
}

int Streams::event_fd() const {
    return shared_->event.get();
}
bool Streams::output_done() const {
    return shared_->outputs == 0;
}
void Streams::await_console(int timeout_ms) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    while (shared_->consoles != 0) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(
            deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0) return;
        pollfd poll{event_fd(), POLLIN, 0};
        if (::poll(&poll, 1, static_cast<int>(left.count())) > 0) drain_eventfd(event_fd());
    }
}
bool Streams::output_lost() const {
    return shared_->lost;
}
bool Streams::detached() const {
    return shared_->detached;
}

}  // namespace drupe::cli
