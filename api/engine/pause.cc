// A machine that stands still. What the monitor says is the truth; the row follows.

#include <fmt/format.h>

#include <cerrno>

#include "api/engine/engine.h"

namespace drupe::engine {
namespace {

constexpr std::chrono::milliseconds kAnswerTimeout{10'000};

Error refused(const Container& container, Command command) {
    return Error{ErrorCode::kConflict,
                 fmt::format("Container {} {}", container.id, refusal(container.state, command))};
}

}  // namespace

Status Engine::change_pause(std::string_view query, Command command) {
    TRY_ASSIGN(Locked held, lock_container(query));
    Container& container = held.container;
    if (!has_machine(container.state)) return refused(container, command);
    const bool pause = command == Command::kPause;
    TRY_ASSIGN(const bool done, order_pause(container.id, pause));
    step(pause ? "paused" : "resumed");
    const State now = pause ? State::kPaused : State::kRunning;
    // A row that says otherwise is that of a command which died in between.
    if (!done && container.state == now) return refused(container, command);
    container.state = now;
    return table_.update(container);
}

Status Engine::pause(std::string_view query) {
    return change_pause(query, Command::kPause);
}

Status Engine::unpause(std::string_view query) {
    return change_pause(query, Command::kUnpause);
}

Result<bool> Engine::order_pause(const std::string& id, bool pause) {
    TRY_ASSIGN(ControlClient client, connect(id));
    control::Request request;
    request.op = pause ? control::Op::kPause : control::Op::kResume;
    const auto reply = client.call(std::move(request), kAnswerTimeout);
    if (!reply && reply.error().os_errno == EALREADY) return false;
    if (!reply) {
        return Error(reply.error())
            .wrap(fmt::format("Cannot {} container {}", pause ? "pause" : "unpause", id));
    }
    return true;
}

Status Engine::note_resumed(const Container& container) {
    if (container.state != State::kPaused) return ok();
    TRY_ASSIGN(const auto lock, ContainerLock::take(run_dir(container)));
    auto row = table_.by_id(container.id);
    if (!row || row.value().state != State::kPaused) return ok();
    TRY_ASSIGN(const bool lives, monitor_lives(run_dir(container)));
    if (!lives) return ok();  // settle()'s
    row.value().state = State::kRunning;
    return table_.update(row.value());
}

}  // namespace drupe::engine
