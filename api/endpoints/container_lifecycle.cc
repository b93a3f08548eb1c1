// POST /containers/{id}/start, stop, restart, kill

#include <csignal>

#include "api/daemon/container_event.h"
#include "api/endpoints/containers.h"
#include "api/endpoints/start_error.h"

namespace drupe::endpoints {
namespace {

using daemon::container_event;
using engine::Container;
using engine::State;

/// -1 waits for ever.
Result<std::optional<uint32_t>> timeout_of(const Call& call) {
    TRY_ASSIGN(const auto seconds, call.number("t"));
    if (!seconds) return std::optional<uint32_t>();
    if (*seconds < 0 || *seconds > UINT32_MAX) return std::optional<uint32_t>(UINT32_MAX);
    return std::optional(static_cast<uint32_t>(*seconds));
}

Result<uint32_t> signal_of(const Call& call, uint32_t otherwise) {
    const std::string text = call.text("signal");
    if (text.empty()) return otherwise;
    auto signal = engine::parse_signal(text);
    if (!signal) return Error{ErrorCode::kInvalid, "invalid signal: " + text.substr(0, 64)};
    return signal;
}

void publish(const Call& call, const Container& container, const char* action,
             const std::map<std::string, std::string>& more = {}) {
    call.daemon.events.publish(container_event(container, action, more));
}

void publish_kill(const Call& call, const Container& container, uint32_t signal) {
    publish(call, container, "kill", {{"signal", std::to_string(signal)}});
}

uint32_t stop_signal_of(const Container& container) {
    const auto parsed = engine::parse_signal(container.config.stop_signal);
    return parsed ? parsed.value() : SIGTERM;
}

/// The kernel's log goes where the client that is there from the beginning reads errors; without
/// one, to the container's file.
Result<Fd> console_beside(const control::Stdio& stdio) {
    const Fd& out = stdio.stderr_fd.valid() ? stdio.stderr_fd : stdio.stdout_fd;
    return out.valid() ? out.duplicate() : Result<Fd>(Fd());
}

/// Whoever attached before gets the streams from the first byte on.
Result<engine::Machine> launch(const Call& call, engine::Engine& engine, const Container& container,
                               const std::string& checkpoint) {
    engine::StartRequest request;
    request.checkpoint = checkpoint;
    auto streams = call.daemon.pending_streams.take(container.id);
    if (!streams.empty()) {
        request.stdio = std::move(streams.front());
        streams.erase(streams.begin());
    }
    if (container.config.console) {
        TRY_ASSIGN(request.console, console_beside(request.stdio));
    }
    TRY_ASSIGN(engine::Machine machine, engine.start(container.id, std::move(request)));
    for (control::Stdio& stdio : streams) {
        control::Request attach;
        attach.op = control::Op::kAttach;
        attach.stdio = std::move(stdio);
        TRY(machine.client.send(std::move(attach)));
    }
    return machine;
}

Status start(const Call& call, engine::Engine& engine, const Container& container,
             const std::string& checkpoint = "") {
    const daemon::Supervisor::Claim claim(call.daemon.supervisor, container.id);
    TRY_ASSIGN(engine::Machine machine, launch(call, engine, container, checkpoint));
    TRY_ASSIGN(const bool started, engine.await_started(machine));
    if (started) {
        publish(call, machine.container, "start");
        call.daemon.supervisor.watch(std::move(machine));
        return ok();
    }
    TRY_ASSIGN(const engine::Ended ended, call.daemon.supervisor.conclude(std::move(machine)));
    const bool failed = ended.record.reason == "not-started" ||
                        (ended.record.reason == "vmm-error" && ended.record.started_at_ns == 0);
    if (!failed) return ok();  // it has run, and is over already
    return explain_start(container, ended.record);
}

/// Signals until it doesn't run; the signal first, then SIGKILL.
Status stop(const Call& call, engine::Engine& engine, const Container& container,
            std::optional<uint32_t> timeout) {
    TRY(engine.amend(container.id, [](Container& now) {
        now.stopped_by_user = true;
        if (now.state == State::kRestarting) now.state = State::kExited;
    }));
    TRY_ASSIGN(const uint32_t signal, signal_of(call, 0));
    publish_kill(call, container, signal != 0 ? signal : stop_signal_of(container));
    TRY(engine.stop(container.id, timeout, signal));
    publish(call, container, "stop");
    return ok();
}

/// Of a container that --rm speaks of and that never ran: the client waits for its removal.
void remove_unstarted(const Call& call, engine::Engine& engine, const Container& container) {
    if (!container.config.auto_remove || container.state != State::kCreated) return;
    if (!engine.remove(container.id, false)) return;  // gone already, with its machine
    publish(call, container, "destroy");
    call.daemon.removed(container.id);
}

}  // namespace

Status start_container(const Call& call) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const Container container, engine->find(call.id()));
    TRY(refuse_checkpoint_folder(call.text("checkpoint-dir")));
    if (container.state == State::kPaused) {
        return Error{ErrorCode::kConflict, "cannot start a paused container, try unpause instead"};
    }
    const std::string checkpoint = call.text("checkpoint");
    if (container.state == State::kRunning || container.state == State::kRestarting) {
        if (checkpoint.empty()) return call.answer(304);
        return Error{ErrorCode::kConflict, "cannot go back to checkpoint " + checkpoint +
                                               " while the container runs: stop it first"};
    }
    if (auto started = start(call, engine.engine(), container, checkpoint); !started) {
        remove_unstarted(call, engine.engine(), container);
        return started;
    }
    return call.answer(204);
}

Status stop_container(const Call& call) {
    TRY_ASSIGN(const auto timeout, timeout_of(call));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const Container container, engine->find(call.id()));
    if (container.state == State::kCreated || container.state == State::kExited)
        return call.answer(304);
    TRY(stop(call, engine.engine(), container, timeout));
    return call.answer(204);
}

Status restart_container(const Call& call) {
    TRY_ASSIGN(const auto timeout, timeout_of(call));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const Container container, engine->find(call.id()));
    if (container.state != State::kCreated && container.state != State::kExited) {
        TRY(stop(call, engine.engine(), container, timeout));
    }
    TRY(start(call, engine.engine(), container));
    publish(call, container, "restart");
    return call.answer(204);
}

Status kill_container(const Call& call) {
    TRY_ASSIGN(const uint32_t signal, signal_of(call, SIGKILL));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const Container container, engine->find(call.id()));
    if (verdict(container.state, engine::Command::kKill) != engine::Verdict::kDo) {
        return Error{ErrorCode::kConflict, "cannot kill container: " + call.id() + ": container " +
                                               container.id + " is not running"};
    }
    if (signal == SIGKILL || signal == stop_signal_of(container)) {
        TRY(engine->amend(container.id, [](Container& now) { now.stopped_by_user = true; }));
    }
    publish_kill(call, container, signal);
    TRY(engine->kill(container.id, signal));
    return call.answer(204);
}

}  // namespace drupe::endpoints
