// Commands that are killed at each of their steps, and many processes at once.

#include "api/engine/testing/engine_fixture.h"

namespace drupe::engine {
namespace {

class CrashTest : public EngineTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(CrashTest, AKilledCreateLeavesNothing) {
    const bool reached = dies_at(GetParam(), [&](Engine& engine) {
        static_cast<void>(engine.create(config({"sleep"}), "victim"));
    });
    ASSERT_TRUE(reached);
    EXPECT_TRUE(engine_->list().value().empty());
    expect_nothing_left();
    EXPECT_TRUE(engine_->create(config({"sleep"}), "victim"));  // its name is free
}

INSTANTIATE_TEST_SUITE_P(Steps, CrashTest,
                         ::testing::Values("locked", "folder made", "recorded", "top made"));

TEST_F(EngineTest, AKilledStartLeavesTheContainerAsItWasOrRunning) {
    for (const char* step : {"starting", "planned", "launched", "running"}) {
        ASSERT_TRUE(engine_->create(config({"sleep"}), "victim"));
        ASSERT_TRUE(
            dies_at(step, [&](Engine& engine) { static_cast<void>(engine.start("victim", {})); }));
        const bool lives =
            std::string_view(step) == "launched" || std::string_view(step) == "running";
        const Container container = engine_->find("victim").value();
        EXPECT_EQ(container.state, lives ? State::kRunning : State::kCreated) << step;
        EXPECT_EQ(container.step, Step::kNone);
        if (!lives) {
            EXPECT_TRUE(engine_->start("victim", {})) << step;
        }
        ASSERT_TRUE(engine_->remove("victim", true)) << step;
    }
    expect_nothing_left();
}

TEST_F(EngineTest, AKilledRemoveIsFinishedByTheNextSweep) {
    for (const char* step : {"ended", "row removed", "top removed", "folder removed"}) {
        ASSERT_TRUE(engine_->create(config({"sleep"}), "victim"));
        ASSERT_TRUE(dies_at(
            step, [&](Engine& engine) { static_cast<void>(engine.remove("victim", true)); }));
        if (std::string_view(step) == "ended") {
            ASSERT_TRUE(engine_->remove("victim", true));
        }
        expect_nothing_left();
    }
}

TEST_F(EngineTest, WhoWaitsForAContainersLockSeesWhatWasWrittenMeanwhile) {
    const Machine machine = run({"sleep"}, "db");
    auto lock = ContainerLock::take(root_ + "/run/vm/" + machine.container.id);
    ASSERT_TRUE(lock);
    engine_.reset();
    images_.reset();
    const pid_t child = ::fork();
    if (child == 0) {
        lock = Error{ErrorCode::kConflict, "the parent's"};
        open();
        CommitRequest request;
        _exit(engine_->commit("db", request) ? 0 : 1);
    }
    open();
    ::usleep(200'000);  // it has found the row, and waits
    ASSERT_TRUE(images_->database().execute("UPDATE containers SET restarts = 7"));
    lock = Error{ErrorCode::kConflict, "let go"};
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(engine_->find("db").value().restarts, 7u);
}

TEST_F(EngineTest, TwentyProcessesCreateAtOnceAndEachHasAUidAndANameOfItsOwn) {
    constexpr int kProcesses = 20;
    engine_.reset();
    images_.reset();
    std::vector<pid_t> children;
    for (int i = 0; i < kProcesses; ++i) {
        const pid_t child = ::fork();
        if (child == 0) {
            open();
            _exit(engine_->create(config({"sleep"}), "") ? 0 : 1);
        }
        children.push_back(child);
    }
    for (const pid_t child : children) {
        int status = 0;
        ::waitpid(child, &status, 0);
        EXPECT_EQ(status, 0);
    }
    open();
    const auto all = engine_->list().value();
    EXPECT_EQ(all.size(), static_cast<size_t>(kProcesses));
    std::set<uint32_t> uids;
    std::set<std::string> names;
    for (const Container& c : all) {
        uids.insert(c.uid);
        names.insert(c.name);
    }
    EXPECT_EQ(uids.size(), all.size());
    EXPECT_EQ(names.size(), all.size());
}

TEST_F(EngineTest, OfTwoProcessesThatTakeOneNameExactlyOneGetsIt) {
    engine_.reset();
    images_.reset();
    std::vector<pid_t> children;
    for (int i = 0; i < 8; ++i) {
        const pid_t child = ::fork();
        if (child == 0) {
            open();
            _exit(engine_->create(config({"sleep"}), "web") ? 0 : 1);
        }
        children.push_back(child);
    }
    int winners = 0;
    for (const pid_t child : children) {
        int status = 0;
        ::waitpid(child, &status, 0);
        winners += status == 0 ? 1 : 0;
    }
    EXPECT_EQ(winners, 1);
    open();
    EXPECT_EQ(engine_->list().value().size(), 1u);
    EXPECT_EQ(entries("/containers"), 1u);
}

}  // namespace
}  // namespace drupe::engine
