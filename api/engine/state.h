#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace drupe::engine {

/// What a container is doing, in Docker's words.
///
///            start                stop, kill, or its end
///   created ───────▶ running ─────────────────────────▶ exited ──start──▶ running
///                    │     ▲                              │
///              pause ▼     │ unpause                      ▼ remove (from created and dead too)
///                     paused                            (gone)
///
/// restarting: ended, and a restart policy will start it again. dead: removing it failed half-way.
enum class State : uint8_t { kCreated, kRunning, kPaused, kRestarting, kExited, kDead };
inline constexpr size_t kStates = 6;

enum class Command : uint8_t {
    kStart,
    kStop,
    kKill,
    kPause,
    kUnpause,
    kExec,
    kAttach,
    kResize,
    kRemove,       ///< Without force.
    kForceRemove,  ///< Kills first if need be.
};
inline constexpr size_t kCommands = 10;

enum class Verdict : uint8_t {
    kDo,       ///< Legal: carry it out.
    kAlready,  ///< The container is what the command would make it: success, nothing to do.
    kRefuse,   ///< Illegal in this state: a conflict.
};

/// It has a machine whose workload runs, or stands still.
[[nodiscard]] constexpr bool has_machine(State state) {
    return state == State::kRunning || state == State::kPaused;
}

/// It has a machine, or will have one again by its policy.
[[nodiscard]] constexpr bool is_active(State state) {
    return has_machine(state) || state == State::kRestarting;
}

/// The one table of legal (state, command) pairs.
[[nodiscard]] Verdict verdict(State state, Command command);

/// "running" and the like.
[[nodiscard]] std::string_view to_string(State state);
[[nodiscard]] std::optional<State> parse_state(std::string_view name);

/// Why a command is refused in a state, for people: "is not running".
[[nodiscard]] std::string_view refusal(State state, Command command);

}  // namespace drupe::engine
