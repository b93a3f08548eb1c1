// What a running guest says of itself, through builtins of drupe-init: its processes, its usage.

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "api/engine/clock.h"
#include "api/engine/engine.h"
#include "api/engine/machine_size.h"
#include "api/engine/process.h"

namespace drupe::engine {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kAnswerTimeout{10'000};

control::Request builtin_request(protocol::Builtin builtin, Fd out) {
    control::Request request;
    request.op = control::Op::kExec;
    request.start.argv = {"drupe-init"};
    request.start.builtin = builtin;
    request.stdio.stdout_fd = std::move(out);
    return request;
}

/// To its end, which has to come in time; a guest can be slow for ever.
Result<std::string> read_in_time(int fd, size_t max, milliseconds limit) {
    std::string text;
    const uint64_t until = monotonic_ns() + static_cast<uint64_t>(limit.count()) * 1'000'000;
    std::array<char, 16384> buffer{};
    for (;;) {
        const uint64_t now = monotonic_ns();
        if (now >= until) return Error{ErrorCode::kIo, "the guest doesn't answer in time"};
        pollfd poll{fd, POLLIN, 0};
        if (::poll(&poll, 1, static_cast<int>((until - now) / 1'000'000 + 1)) <= 0) continue;
        const ssize_t n = ::read(fd, buffer.data(), buffer.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_error("read what the guest says");
        if (n == 0) return text;
        text.append(buffer.data(), static_cast<size_t>(n));
        if (text.size() > max) return Error{ErrorCode::kLimit, "the guest says too much"};
    }
}

Error not_running(const Container& container) {
    return Error{ErrorCode::kConflict, fmt::format("Container {} is not running", container.id)};
}

}  // namespace

Result<std::string> Engine::ask_guest(const Container& container, protocol::Builtin builtin,
                                      size_t max_bytes) {
    TRY_ASSIGN(FdPair pipe, make_pipe());
    TRY_ASSIGN(ControlClient client, connect(container.id));
    TRY_ASSIGN(const auto started,
               client.call(builtin_request(builtin, std::move(pipe.second)), kAnswerTimeout));
    auto text = read_in_time(pipe.first.get(), max_bytes, kAnswerTimeout);
    if (text) return text;
    pipe.first.reset();
    control::Request kill;
    kill.op = control::Op::kSignal;
    kill.session = started.session;
    kill.signal = SIGKILL;
    static_cast<void>(client.call(std::move(kill), kAnswerTimeout));  // it may have ended
    return text;
}

Result<ProcessTable> Engine::top(std::string_view query, std::string_view ps_arguments) {
    TRY_ASSIGN(const auto columns, choose_process_columns(ps_arguments));
    TRY_ASSIGN(const Container container, find(query));
    if (container.state == State::kPaused) {
        return Error{
            ErrorCode::kConflict,
            fmt::format("Container {} is paused, unpause the container before top", container.id)};
    }
    if (container.state != State::kRunning) return not_running(container);
    TRY_ASSIGN(const std::string text,
               ask_guest(container, protocol::Builtin::kProcesses, protocol::kMaxProcessListBytes));
    const auto list = protocol::decode<protocol::ProcessList>(text);
    if (!list) return Error{ErrorCode::kCorrupt, "the guest didn't say what runs in it"};
    return make_process_table(columns, *list);
}

Result<Stats> Engine::stats(std::string_view query) {
    Stats stats;
    TRY_ASSIGN(stats.container, find(query));
    const Container& container = stats.container;
    stats.read_at_ns = realtime_ns();
    if (!has_machine(container.state)) return stats;
    TRY_ASSIGN(const MachineSize size,
               machine_size(container.config.memory_bytes, container.config.nano_cpus));
    stats.vcpus = size.vcpus;
    stats.memory_limit_bytes =
        size.workload_memory_max != 0 ? size.workload_memory_max : size.ram_bytes;
    auto host = launcher_.usage(container.id);
    if (host) stats.host = std::move(host).value();
    if (process_start_ticks(container.pid) == container.pid_started)
        stats.shared_bytes = process_file_bytes(container.pid);
    if (container.state != State::kRunning) return stats;
    // One that doesn't answer (it starts, it ends, it hangs) has figures of the host's all the
    // same.
    const auto text = ask_guest(container, protocol::Builtin::kUsage, kMaxUsageBytes);
    if (text) stats.guest = protocol::decode<protocol::Usage>(text.value());
    return stats;
}

}  // namespace drupe::engine
