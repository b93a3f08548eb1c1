#include "api/engine/state.h"

#include <gtest/gtest.h>

namespace drupe::engine {
namespace {

constexpr State kAllStates[] = {State::kCreated,    State::kRunning, State::kPaused,
                                State::kRestarting, State::kExited,  State::kDead};

TEST(StateTable, OnlyWhatDoesNotRunCanStart) {
    EXPECT_EQ(verdict(State::kCreated, Command::kStart), Verdict::kDo);
    EXPECT_EQ(verdict(State::kExited, Command::kStart), Verdict::kDo);
    EXPECT_EQ(verdict(State::kRunning, Command::kStart), Verdict::kAlready);
    EXPECT_EQ(verdict(State::kPaused, Command::kStart), Verdict::kRefuse);
    EXPECT_EQ(verdict(State::kDead, Command::kStart), Verdict::kRefuse);
}

TEST(StateTable, StoppingWhatDoesNotRunIsNoError) {
    EXPECT_EQ(verdict(State::kExited, Command::kStop), Verdict::kAlready);
    EXPECT_EQ(verdict(State::kCreated, Command::kStop), Verdict::kAlready);
    EXPECT_EQ(verdict(State::kRunning, Command::kStop), Verdict::kDo);
}

TEST(StateTable, KillExecAttachAndResizeNeedAMachine) {
    for (const Command command :
         {Command::kKill, Command::kExec, Command::kAttach, Command::kResize}) {
        for (const State state : {State::kCreated, State::kExited, State::kDead}) {
            EXPECT_EQ(verdict(state, command), Verdict::kRefuse) << to_string(state);
        }
        EXPECT_EQ(verdict(State::kRunning, command), Verdict::kDo);
    }
}

TEST(StateTable, ForcedRemovalIsLegalEverywhereAndPlainRemovalOnlyWithoutAMachine) {
    for (const State state : kAllStates) {
        EXPECT_EQ(verdict(state, Command::kForceRemove), Verdict::kDo);
    }
    for (const State state : {State::kRunning, State::kPaused, State::kRestarting}) {
        EXPECT_EQ(verdict(state, Command::kRemove), Verdict::kRefuse);
        const std::string_view advice =
            state == State::kPaused ? "unpaused first" : "stop the container before removing";
        EXPECT_NE(refusal(state, Command::kRemove).find(advice), std::string_view::npos);
    }
}

TEST(StateTable, RefusalsAboutPausesAreDockers) {
    EXPECT_EQ(refusal(State::kPaused, Command::kPause), "is already paused");
    EXPECT_EQ(refusal(State::kRunning, Command::kUnpause), "is not paused");
    EXPECT_EQ(refusal(State::kExited, Command::kPause), "is not running");
    EXPECT_EQ(refusal(State::kExited, Command::kUnpause), "is not paused");
}

TEST(StateTable, NamesSurviveTheRoundTripAndUnknownOnesDoNotParse) {
    for (const State state : kAllStates) EXPECT_EQ(parse_state(to_string(state)), state);
    EXPECT_FALSE(parse_state("asleep"));
    EXPECT_FALSE(parse_state(""));
}

}  // namespace
}  // namespace drupe::engine
