#include "api/engine/state.h"

#include <array>

namespace drupe::engine {
namespace {

constexpr Verdict D = Verdict::kDo;
constexpr Verdict A = Verdict::kAlready;
constexpr Verdict R = Verdict::kRefuse;

constexpr std::array<std::array<Verdict, kCommands>, kStates> kTable{{
    //  start stop kill pause unpause exec attach resize remove force-remove
    {{D, A, R, R, R, R, R, R, D, D}},  // created
    {{A, D, D, D, R, D, D, D, R, D}},  // running
    {{R, D, D, R, D, R, R, D, R, D}},  // paused
    {{R, D, D, R, R, R, R, R, R, D}},  // restarting
    {{D, A, R, R, R, R, R, R, D, D}},  // exited
    {{R, A, R, R, R, R, R, R, D, D}},  // dead
}};

constexpr std::array<std::string_view, kStates> kNames{"created",    "running", "paused",
                                                       "restarting", "exited",  "dead"};

}  // namespace

Verdict verdict(State state, Command command) {
    return kTable[static_cast<size_t>(state)][static_cast<size_t>(command)];
}

std::string_view to_string(State state) {
    return kNames[static_cast<size_t>(state)];
}

std::optional<State> parse_state(std::string_view name) {
    for (size_t i = 0; i < kNames.size(); ++i) {
        if (kNames[i] == name) return static_cast<State>(i);
    }
    return std::nullopt;
}

std::string_view refusal(State state, Command command) {
    if (state == State::kDead) return "is marked for removal";
    if (command == Command::kRemove) {
        return state == State::kPaused ? "is paused and must be unpaused first"
                                       : "is running: stop the container before removing or force "
                                         "remove";
    }
    if (state == State::kPaused && command == Command::kPause) return "is already paused";
    if (state == State::kPaused && command == Command::kExec) {
        return "is paused, unpause the container before exec";
    }
    if (state == State::kPaused) return "is paused: unpause it first";
    if (state == State::kRestarting) return "is restarting: wait until it is running";
    if (state == State::kRunning || command == Command::kUnpause) return "is not paused";
    return "is not running";
}

}  // namespace drupe::engine
