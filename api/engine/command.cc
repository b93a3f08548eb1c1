// Commands to machines that run.

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "api/engine/engine.h"
#include "api/engine/environment.h"
#include "api/engine/guest_options.h"

namespace drupe::engine {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kAnswerTimeout{10'000};
constexpr milliseconds kKillTimeout{10'000};
/// More than a monitor gives its guest for all that is before the workload.
constexpr milliseconds kStartTimeout{360'000};
constexpr int kForceTimeoutMs = 5'000;
constexpr uint32_t kLongestStopS = 2'000'000;  // what "for ever" comes to

}  // namespace

control::Request request_of(control::Op op) {
    control::Request request;
    request.op = op;
    return request;
}

Error refused_wait(const control::Reply& reply) {
    return Error{ErrorCode::kConflict, "can't wait for the container's end: " + reply.error};
}

Error ended_meanwhile(const Container& container, const Error& error) {
    if (error.code != ErrorCode::kNotFound && error.os_errno != ESRCH) return error;
    return {ErrorCode::kConflict, fmt::format("container {} is not running", container.id)};
}

Result<ControlClient> Engine::connect(const std::string& id) const {
    // Through the folder's descriptor: the socket's path may be longer than an address can hold.
    const std::string path = options_.paths.run_dir(id);
    TRY_ASSIGN(const Fd folder, open_file(path, O_PATH | O_DIRECTORY));
    const std::string container = "container " + short_id(id);
    auto client = ControlClient::connect(fmt::format("/proc/self/fd/{}/control", folder.get()),
                                         "the monitor of " + container);
    if (client || client.error().code == ErrorCode::kLimit) return client;  // which names it
    return std::move(client).error().wrap(container);
}

Result<Container> Engine::check(std::string_view query, Command command, Verdict* out) {
    TRY_ASSIGN(Container container, find(query));
    *out = verdict(container.state, command);
    if (*out == Verdict::kRefuse) {
        return Error{ErrorCode::kConflict,
                     fmt::format("container {} {}", query, refusal(container.state, command))};
    }
    return container;
}

Result<bool> Engine::await_started(Machine& machine) {
    const auto started = machine.client.exchange(request_of(control::Op::kStarted), kStartTimeout);
    if (started && started.value().error.empty()) {
        note_verified(machine.kept);
        return true;
    }
    const bool ended = started ? started.value().os_error == ESRCH
                               : started.error().code == ErrorCode::kNotFound;  // hung up
    if (!started && !ended) return started.error();
    if (!ended) return refused_wait(started.value());
    auto exit = machine.client.receive(machine.wait_id, kAnswerTimeout);
    if (!exit) {
        const bool later = exit.error().code == ErrorCode::kNotFound ||
                           exit.error().code == ErrorCode::kLimit;  // it writes its disk out
        return later ? Result<bool>(false) : std::move(exit).error();
    }
    if (!exit.value().error.empty()) return refused_wait(exit.value());
    machine.ended = std::move(exit).value();
    return false;
}

Result<bool> Engine::signal_and_wait(const Container& container, uint32_t signal,
                                     milliseconds timeout) {
    auto client = connect(container.id);
    if (!client && client.error().code == ErrorCode::kNotFound) {
        return await_monitor_end(run_dir(container), kForceTimeoutMs);
    }
    if (!client && client.error().code == ErrorCode::kLimit) return false;  // it stands still
    if (!client) return std::move(client).error();
    TRY_ASSIGN(const uint64_t wait_id, client.value().send(request_of(control::Op::kWait)));
    control::Request request = request_of(control::Op::kSignal);
    request.signal = signal;
    const auto sent = client.value().call(std::move(request), kAnswerTimeout);
    if (!sent && sent.error().code != ErrorCode::kNotFound) return false;
    const auto ended = client.value().receive(wait_id, timeout);
    if (!ended && ended.error().code == ErrorCode::kLimit) return false;
    if (ended && !ended.value().error.empty()) {  // refused: its lock tells too, only later
        return await_monitor_end(run_dir(container), static_cast<int>(timeout.count()));
    }
    return await_monitor_end(run_dir(container), kForceTimeoutMs);
}

Status Engine::force_end(const std::string& id) {
    const std::string folder = options_.paths.run_dir(id);
    if (auto client = connect(id)) {
        if (client.value().call(request_of(control::Op::kKill), milliseconds(kForceTimeoutMs))) {
            TRY_ASSIGN(const bool gone, await_monitor_end(folder, kForceTimeoutMs));
            if (gone) return ok();
        }
    }
    TRY(launcher_.kill_all(id));
    TRY_ASSIGN(const bool gone, await_monitor_end(folder, kForceTimeoutMs));
    if (gone) return ok();
    return Error{ErrorCode::kIo,
                 fmt::format("the monitor of container {} doesn't end: it waits for the host; see "
                             "/proc/PID/stack of its threads (drupe inspect names the PID)",
                             short_id(id))};
}

Status Engine::await_settled(const Container& container) {
    const auto held = lock_container(container.id);
    if (held || held.error().code == ErrorCode::kNotFound) return ok();
    return held.error();
}

Status Engine::stop(std::string_view query, std::optional<uint32_t> timeout_s,
                    uint32_t first_signal) {
    Verdict may = Verdict::kDo;
    TRY_ASSIGN(const Container container, check(query, Command::kStop, &may));
    if (may == Verdict::kAlready) return ok();
    const ContainerConfig& config = container.config;
    uint32_t signal = SIGTERM;
    if (first_signal != 0) {
        signal = first_signal;
    } else if (!config.stop_signal.empty()) {
        TRY_ASSIGN(signal, parse_signal(config.stop_signal));
    }
    const uint32_t seconds = std::min(
        kLongestStopS, timeout_s.value_or(config.stop_timeout_s.value_or(kDefaultStopTimeoutS)));
    TRY_ASSIGN(const bool ended, signal_and_wait(container, signal, std::chrono::seconds(seconds)));
    if (!ended) {
        TRY_ASSIGN(const bool killed, signal_and_wait(container, SIGKILL, kKillTimeout));
        if (!killed) {
            TRY(force_end(container.id));
        }
    }
    return await_settled(container);
}

Status Engine::order(const Container& container, control::Request request) const {
    auto client = connect(container.id);
    if (!client) return ended_meanwhile(container, client.error());
    const auto done = client.value().call(std::move(request), kAnswerTimeout);
    if (!done) return ended_meanwhile(container, done.error());
    return ok();
}

Status Engine::kill(std::string_view query, uint32_t signal) {
    Verdict may = Verdict::kDo;
    auto checked = check(query, Command::kKill, &may);
    if (!checked) return std::move(checked).error().wrap("cannot kill container");
    const Container& container = checked.value();
    if (signal == SIGKILL) {
        TRY_ASSIGN(const bool ended, signal_and_wait(container, signal, kKillTimeout));
        if (!ended) {
            TRY(force_end(container.id));
        }
        return await_settled(container);
    }
    control::Request request = request_of(control::Op::kSignal);
    request.signal = signal;
    TRY(order(container, std::move(request)));
    return note_resumed(container);
}

Result<Machine> Engine::connect_and_wait(Container container) {
    TRY_ASSIGN(ControlClient client, connect(container.id));
    TRY_ASSIGN(const uint64_t wait_id, client.send(request_of(control::Op::kWait)));
    Fd record = open_record(container.id);
    return Machine{std::move(container), std::move(client), wait_id, {}, {}, std::move(record)};
}

Result<Machine> Engine::watch(std::string_view query) {
    TRY_ASSIGN(Container container, find(query));
    return connect_and_wait(std::move(container));
}

Result<Machine> Engine::attach(std::string_view query, control::Stdio stdio) {
    Verdict may = Verdict::kDo;
    TRY_ASSIGN(Container container, check(query, Command::kAttach, &may));
    TRY_ASSIGN(Machine machine, connect_and_wait(std::move(container)));
    control::Request request = request_of(control::Op::kAttach);
    request.stdio = std::move(stdio);
    TRY(machine.client.call(std::move(request), kAnswerTimeout));
    return machine;
}

Status Engine::resize(std::string_view query, uint32_t session, uint16_t rows, uint16_t columns) {
    Verdict may = Verdict::kDo;
    TRY_ASSIGN(const Container container, check(query, Command::kResize, &may));
    control::Request request = request_of(control::Op::kResize);
    request.session = session;
    request.rows = rows;
    request.columns = columns;
    return order(container, std::move(request));
}

Status Engine::amend(std::string_view query, const std::function<void(Container&)>& change) {
    TRY_ASSIGN(const Container found, find(query));
    TRY_ASSIGN(const auto lock, ContainerLock::take(run_dir(found)));
    TRY_ASSIGN(Container now, table_.by_id(found.id));
    change(now);
    return table_.update(now);
}

Result<ExecSession> Engine::exec(std::string_view query, ExecRequest asked) {
    Verdict may = Verdict::kDo;
    TRY_ASSIGN(Container container, check(query, Command::kExec, &may));
    control::Request request = request_of(control::Op::kExec);
    protocol::Start& start = request.start;
    start.argv = std::move(asked.argv);
    start.env = session_environment(container, asked.env, asked.tty);
    start.cwd = asked.working_dir.empty() ? container.config.working_dir : asked.working_dir;
    start.user = asked.user.empty() ? container.config.user : asked.user;
    start.tty = asked.tty;
    start.stdin_open = asked.stdio.stdin_fd.valid();
    start.rows = asked.rows;
    start.columns = asked.columns;
    start.limits = session_limits(container.config);
    start.groups = container.config.groups;
    TRY_ASSIGN(start.capabilities, capabilities_of(container.config));
    if (asked.privileged) start.capabilities = protocol::kAllCapabilities;
    request.stdio = std::move(asked.stdio);
    auto client = connect(container.id);
    if (!client) return ended_meanwhile(container, client.error());
    const auto reply = client.value().call(std::move(request), std::chrono::minutes(1));
    if (!reply) return ended_meanwhile(container, reply.error());
    return ExecSession{std::move(container), std::move(client).value(), reply.value().session};
}

}  // namespace drupe::engine
