#include "monitor/container.h"

#include <cerrno>
#include <csignal>
#include <utility>

#include "base/log.h"

namespace drupe {
namespace {

constexpr uint32_t kCannotStart = 125;
constexpr size_t kMaxWaiters = control::kMaxClients * control::kMaxPendingRequests;

/// Docker's exit code for a program that couldn't be executed.
uint32_t start_failure_status(int os_errno) {
    if (os_errno == ENOENT || os_errno == ENOTDIR) return 127;
    if (os_errno == EACCES || os_errno == ENOEXEC || os_errno == EISDIR || os_errno == EPERM)
        return 126;
    return kCannotStart;
}

control::Reply error_reply(const Error& error) {
    control::Reply reply;
    reply.error = error.message;
    reply.os_error = error.os_errno;
    return reply;
}

control::Stdio initial_stdio(const StdioConfig& config) {
    return {Fd(config.stdin_fd), Fd(config.stdout_fd), Fd(config.stderr_fd)};
}

}  // namespace

Container::Container(EventLoop& loop, const MonitorConfig& config, ContainerHost& host,
                     Timeline& timeline, std::function<void(ExitRecord)> on_ended)
    : loop_(loop),
      config_(config),
      host_(host),
      timeline_(timeline),
      on_ended_(std::move(on_ended)),
      log_(config.log, [] { return Timeline::now_ns(CLOCK_REALTIME); }) {
    agent::AgentEvents events;
    events.on_hello = [this](const protocol::Hello& hello) { on_hello(hello); };
    events.on_exited = [this](const protocol::Exited& exit) { on_exited(exit); };
    events.on_halted = [this] {
        if (state_ != State::kStopping)
            return end("agent-lost", kCannotStart, "the guest halted without being told to");
        timeline_.mark("halted");
        end("exited", record_.status, "");
    };
    events.on_lost = [this](const Error& error) { on_lost(error); };
    agent_ = agent::make_agent_session(
        loop, [this](uint32_t port) { return host_.connect_guest(port); }, std::move(events));

    Session::Options options;
    options.id = protocol::kWorkloadSession;
    options.tty = config.workload.tty;
    options.stdin_open = config.workload.stdin_open;
    // As Docker's: a terminal's end is a client that detached, not the end of the program's input.
    options.stdin_once = config.stdin_once && !config.workload.tty;
    options.log = &log_;
    auto workload = std::make_unique<Session>(loop, *agent_, options);
    if (auto status = workload->attach(initial_stdio(config.stdio)); !status)
        log(LogLevel::kWarn, "{}", status.error().message);
    workload->when_done([this](const control::ExitStatus& exit) { on_workload_done(exit); });
    sessions_[options.id] = std::move(workload);

    timer_ = loop.after(kBootLimit, [this] {
        end("agent-lost", kCannotStart,
            "the guest didn't come up: see its kernel's log with --console");
    });
}

Status Container::attach_agent(Fd control) {
    return agent_->attach(std::move(control));
}

void Container::on_hello(const protocol::Hello& hello) {
    if (state_ == State::kStopping) return shut_down();  // the order may have been lost
    if (state_ != State::kBooting) {
        timer_.reset();  // it is back in time
        return;
    }
    timeline_.mark("agent_hello");
    count("agent_hello");
    log(LogLevel::kDebug, "the guest runs Linux {} on {} CPUs", hello.kernel_release, hello.cpus);
    state_ = State::kStarting;
    timer_.reset();
    if (config_.save.given()) return prepare_template();
    if (!host_.container_state().empty()) return adopt();
    const auto reserved_bytes = host_.attach_root_disk();
    if (!reserved_bytes) return end("vmm-error", kCannotStart, reserved_bytes.error().message);
    protocol::Root root = config_.root;
    root.reserved_bytes = reserved_bytes.value();
    // One after the other without waiting: the guest carries them out in this order.
    order(root, "mount the root disk");
    order(identity_now(), "set the identity");
    auto status = agent_->order(config_.workload, kOrderLimit,
                                [this](const Status& answer) { on_started(answer); });
    if (!status) end("not-started", kCannotStart, status.error().message);
}

/// With this moment's time: some has gone by since the engine knew it.
protocol::Identity Container::identity_now() const {
    protocol::Identity identity = config_.identity;
    if (identity.realtime_ns != 0) identity.realtime_ns = Timeline::now_ns(CLOCK_REALTIME);
    return identity;
}

/// The guest is as every container's is before it is told which it is.
void Container::prepare_template() {
    const auto status =
        agent_->order(protocol::Prepare{}, kOrderLimit, [this](const Status& answer) {
            if (!answer) return end("agent-lost", kCannotStart, answer.error().message);
            save_when_reported(host_.free_page_reports(), 1);
        });
    if (!status) end("vmm-error", kCannotStart, status.error().message);
}

/// The kernel marks each free block that it reports. What it has done here no machine of this
/// template has to do, in pages of its own.
void Container::save_when_reported(uint64_t reports, int rests) {
    timer_ = loop_.after(kReportRest, [this, reports, rests] {
        const uint64_t now = host_.free_page_reports();
        if (now == reports || rests == kMaxReportRests) return save_template();
        save_when_reported(now, rests + 1);
    });
}

void Container::save_template() {
    const auto saved = [this](const Status& status) {
        timeline_.mark("saved");
        if (!status) return end("vmm-error", kCannotStart, status.error().message);
        end("saved", 0, "");
    };
    const auto captured = [saved](const Status& status) {
        if (!status) saved(status);
    };
    host_.save({Fd(config_.save.state_fd), Fd(config_.save.memory_fd)}, "", {captured, saved});
}

/// An order whose failure ends the container before its workload.
void Container::order(const agent::Order& order, const char* what) {
    const auto fail = [this, what](const Error& error) {
        if (error.code == ErrorCode::kCorrupt) return on_lost(error);
        end("not-started", kCannotStart,
            std::string("the guest can't ") + what + ": " + error.message);
    };
    const auto status = agent_->order(order, kOrderLimit, [fail](const Status& answer) {
        if (!answer) fail(answer.error());
    });
    if (!status) fail(status.error());
}

void Container::on_started(const Status& status) {
    if (state_ != State::kStarting) return;
    if (!status && status.error().code == ErrorCode::kCorrupt) return on_lost(status.error());
    if (!status) {
        return end("not-started", start_failure_status(status.error().os_errno),
                   status.error().message);
    }
    workload_runs({});
}

void Container::workload_runs(Session::Offsets offsets) {
    state_ = State::kRunning;
    for (const auto& answer : std::exchange(starters_, {})) answer({});
    timeline_.mark("workload_started");
    count("workload_started");
    host_.rest_when_idle();
    record_.started_at_ns = Timeline::now_ns(CLOCK_REALTIME);
    if (auto opened = sessions_[protocol::kWorkloadSession]->open(offsets); !opened)
        end("vmm-error", kCannotStart, opened.error().message);
}

void Container::on_exited(const protocol::Exited& exit) {
    if (exit.session == protocol::kWorkloadSession) {
        timeline_.mark("workload_exited");
        // It ended just before: its output is still to come, and the guest's end.
        if (pause_ == Pause::kPausing || pause_ == Pause::kPaused) resume_machine();
    }
    const auto it = sessions_.find(exit.session);
    if (it != sessions_.end()) return it->second->exited(exit);
    // Another machine's exec, which was killed here: nobody wants to know.
    (void)agent_->order(protocol::Forget{exit.session}, kOrderLimit, [](const Status&) {});
}

void Container::on_workload_done(const control::ExitStatus& exit) {
    if (state_ != State::kRunning) return;
    timeline_.mark("streams_drained");
    count("workload_exited");
    state_ = State::kStopping;
    record_.status = exit.status;
    record_.signal = exit.signal;
    record_.oom_killed = exit.oom_killed;
    // Nothing of a discarded disk needs to be flushed: the doorbell would only cost time.
    if (config_.root.discard_changes) return end("exited", exit.status, "");
    timer_ = loop_.after(kHaltLimit, [this] {
        end("exited", record_.status,
            "the guest didn't halt in time: the last writes may be missing from its disk");
    });
    shut_down();
}

/// May come again, after a lost connection; the halt's limit goes on.
void Container::shut_down() {
    const auto status = agent_->order(protocol::Shutdown{}, kHaltLimit, [](const Status&) {});
    if (!status && status.error().code != ErrorCode::kConflict)
        end("exited", record_.status, status.error().message);
}

void Container::on_lost(const Error& error) {
    if (state_ == State::kEnded) return;
    // How the workload ended is known by then; the halt's limit bounds the rest.
    if (state_ == State::kStopping) return;
    // One that stands still can't connect again.
    if (pause_ != Pause::kNone && error.code != ErrorCode::kCorrupt) {
        lost_while_paused_ = error;
        return;
    }
    const std::string why = "lost the guest's agent: " + error.message;
    if (error.code == ErrorCode::kCorrupt) return end("agent-lost", kCannotStart, why);
    // Usually the machine has just stopped, and says why in a moment.
    timer_ = loop_.after(kReconnectLimit, [this, why] { end("agent-lost", kCannotStart, why); });
}

void Container::machine_stopped(const std::string& reason, const std::string& detail) {
    const bool done = state_ == State::kStopping;
    end(done ? "exited" : reason.c_str(), done ? record_.status : kCannotStart,
        done ? "" : "the guest's kernel ended (" + reason + "): " + detail);
}

void Container::end(const char* reason, uint32_t status, const std::string& error) {
    if (state_ == State::kEnded) return;
    state_ = State::kEnded;
    timer_.reset();
    record_.reason = reason;
    record_.status = status;
    record_.error = error;
    record_.finished_at_ns = Timeline::now_ns(CLOCK_REALTIME);
    record_.guest_faults = host_.guest_faults() + agent_->violations();
    record_.marks = timeline_.marks();
    for (auto* const waiting : {&starters_, &savers_})
        for (const auto& answer : std::exchange(*waiting, {}))
            answer(error_reply({ErrorCode::kConflict, "the container has ended", ESRCH}));
    loop_.post([this] {
        on_ended_(record_);
        for (const auto& answer : std::exchange(waiters_, {})) {
            control::Reply reply;
            reply.exit = control::ExitStatus{record_.status, record_.signal, record_.oom_killed};
            answer(std::move(reply));
        }
    });
}

void Container::count(const char* mark) {
    if (!config_.timing) return;
    for (const auto& [name, value] : host_.statistics())
        if (value != 0) record_.counts.emplace(std::string(mark) + "." + name, value);
}

void Container::handle(control::Request request, const ControlServer::Answer& answer) {
    using control::Op;
    // Who waits for the workload's end is answered with it, a moment later.
    const bool waits = request.op == Op::kWait && request.session == protocol::kWorkloadSession;
    if (state_ == State::kEnded && request.op != Op::kStatus && !waits)
        return answer(error_reply({ErrorCode::kConflict, "the container has ended", ESRCH}));
    switch (request.op) {
        case Op::kStatus: {
            control::Reply reply;
            reply.machine = status();
            return answer(std::move(reply));
        }
        case Op::kAttach:
            return do_attach(std::move(request), answer);
        case Op::kExec:
            return do_exec(std::move(request), answer);
        case Op::kSignal:
            return do_signal(request, answer);
        case Op::kResize:
            return do_resize(request, answer);
        case Op::kWait:
            return do_wait(request, answer);
        case Op::kReleaseDisk:
            return do_release_disk(request, answer);
        case Op::kReplaceDisk:
            return do_replace_disk(std::move(request), answer);
        case Op::kStarted:
            return do_started(answer);
        case Op::kSnapshot:
            return do_snapshot(std::move(request), answer);
        case Op::kSaved:
            return do_saved(answer);
        case Op::kLimits:
            if (state_ != State::kRunning || pause_ != Pause::kNone)
                return answer(error_reply(
                    {ErrorCode::kConflict, "the container isn't running, or is paused"}));
            return do_order(request.limits, answer);
        case Op::kPause:
            return do_pause(answer);
        case Op::kResume:
            return do_resume(answer);
        case Op::kKill:
            answer({});
            record_.signal = 9;
            return end("killed", 137, "killed by order");
    }
}

void Container::do_attach(control::Request request, const ControlServer::Answer& answer) {
    const auto status = sessions_[protocol::kWorkloadSession]->attach(std::move(request.stdio));
    answer(status ? control::Reply{} : error_reply(status.error()));
}

void Container::do_exec(control::Request request, const ControlServer::Answer& answer) {
    if (state_ != State::kRunning)
        return answer(error_reply({ErrorCode::kConflict, "the container isn't running", ESRCH}));
    if (pause_ != Pause::kNone)
        return answer(
            error_reply({ErrorCode::kConflict, "the container is paused: unpause it first"}));
    Session::Options options;
    options.id = next_session_++;
    options.tty = request.start.tty;
    options.stdin_open = request.start.stdin_open;
    options.stdin_once = !request.start.tty;
    auto session = std::make_unique<Session>(loop_, *agent_, options);
    if (auto status = session->attach(std::move(request.stdio)); !status)
        return answer(error_reply(status.error()));
    request.start.session = options.id;
    const auto status =
        agent_->order(request.start, kOrderLimit, [this, id = options.id, answer](Status started) {
            const auto it = sessions_.find(id);
            const bool runs = started.has_value();
            if (started && it != sessions_.end()) started = it->second->open();
            if (!started) {
                if (runs || started.error().code == ErrorCode::kLimit) kill_session(id);
                sessions_.erase(id);
                return answer(error_reply(started.error()));
            }
            control::Reply reply;
            reply.session = id;
            answer(std::move(reply));
        });
    if (!status) return answer(error_reply(status.error()));
    // What only tells something is over with its last word: nobody asks how it ended.
    const auto builtin = request.start.builtin;
    const bool asked_for =
        builtin != protocol::Builtin::kProcesses && builtin != protocol::Builtin::kUsage;
    session->when_done([this, id = options.id, asked_for](const control::ExitStatus& exit) {
        finish_exec(id, asked_for, exit);
    });
    sessions_[options.id] = std::move(session);
}

/// Forgets an exec, here (later: it is its caller) and in the guest; how it ended is kept for a
/// while.
void Container::finish_exec(uint32_t id, bool asked_for, const control::ExitStatus& exit) {
    if (asked_for) finished_execs_[id] = exit;
    if (finished_execs_.size() > kMaxFinishedExecs) finished_execs_.erase(finished_execs_.begin());
    (void)agent_->order(protocol::Forget{id}, kOrderLimit, [](const Status&) {});
    loop_.post([this, id] { sessions_.erase(id); });
}

/// A program that runs, or may, and that nobody will hear of.
void Container::kill_session(uint32_t id) {
    const auto ignore = [](const Status&) {};
    (void)agent_->order(protocol::Signal{id, SIGKILL, true}, kOrderLimit, ignore);
    (void)agent_->order(protocol::Forget{id}, kOrderLimit, ignore);
}

void Container::do_wait(const control::Request& request, const ControlServer::Answer& answer) {
    const auto reply_with = [answer](const control::ExitStatus& exit) {
        control::Reply reply;
        reply.exit = exit;
        answer(std::move(reply));
    };
    if (request.session == protocol::kWorkloadSession) {
        return add_waiter(waiters_, answer);
    }
    if (const auto it = finished_execs_.find(request.session); it != finished_execs_.end())
        return reply_with(it->second);
    const auto it = sessions_.find(request.session);
    if (it == sessions_.end())
        return answer(error_reply({ErrorCode::kNotFound, "no such exec session"}));
    it->second->when_done(reply_with);
}

void Container::add_waiter(std::vector<ControlServer::Answer>& waiters,
                           const ControlServer::Answer& answer) {
    std::erase_if(waiters, [](const auto& waiter) { return !waiter.wanted(); });
    if (waiters.size() >= kMaxWaiters)
        return answer(error_reply({ErrorCode::kLimit, "too many clients wait"}));
    waiters.push_back(answer);
}

void Container::do_started(const ControlServer::Answer& answer) {
    if (state_ != State::kBooting && state_ != State::kStarting) return answer({});
    add_waiter(starters_, answer);
}

void Container::do_signal(const control::Request& request, const ControlServer::Answer& answer) {
    // A guest of which a snapshot is taken hears of it when it goes on.
    if (pause_ == Pause::kPausing || pause_ == Pause::kPaused) resume_machine();
    if (state_ != State::kBooting && state_ != State::kStarting)
        return do_order(protocol::Signal{request.session, request.signal, request.all}, answer);
    // There is no process yet that could catch it, so the signal's default action is what happens.
    answer({});
    const auto number = static_cast<int>(request.signal);
    if (number != SIGHUP && number != SIGINT && number != SIGQUIT && number != SIGTERM &&
        number != SIGKILL)
        return;
    record_.signal = request.signal;
    end("killed", 128 + request.signal, "killed before it had started");
}

void Container::do_order(const agent::Order& order, const ControlServer::Answer& answer) {
    const auto status = agent_->order(order, kOrderLimit, [answer](const Status& result) {
        answer(result ? control::Reply{} : error_reply(result.error()));
    });
    if (!status) answer(error_reply(status.error()));
}

control::MachineStatus Container::status() const {
    static constexpr const char* kNames[] = {"booting", "starting", "running", "stopping", "ended"};
    control::MachineStatus status;
    status.state = kNames[static_cast<size_t>(state_)];
    status.guest_faults = host_.guest_faults() + agent_->violations();
    status.last_fault = host_.last_fault();
    status.paused = pause_ == Pause::kPausing || pause_ == Pause::kPaused;
    status.disk_released = root_disk_ == RootDisk::kReleased;
    status.disk_moves = root_disk_ == RootDisk::kReleasing || root_disk_ == RootDisk::kReplacing;
    status.disk_waits_for_room = host_.disk_waits_for_room();
    for (const auto& [id, session] : sessions_)
        if (id != protocol::kWorkloadSession) status.sessions.push_back(id);
    return status;
}

}  // namespace drupe
