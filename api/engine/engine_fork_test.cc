// Copies of running machines.

#include <algorithm>

#include "api/engine/machine_size.h"
#include "api/engine/testing/engine_fixture.h"

namespace drupe::engine {
namespace {

TEST_F(EngineTest, CopiesOfARunningContainerRunOnByThemselves) {
    const Machine machine = run({"sleep"}, "db");
    const auto forked = engine_->fork("db", {3, "test"});
    ASSERT_TRUE(forked) << forked.error().message;
    ASSERT_EQ(forked.value().clones.size(), 3u);
    EXPECT_FALSE(forked.value().failure);
    for (int i = 1; i <= 3; ++i) {
        const auto clone = engine_->find("test-" + std::to_string(i));
        ASSERT_TRUE(clone) << clone.error().message;
        EXPECT_EQ(clone.value().state, State::kRunning);
        EXPECT_EQ(clone.value().image_id, machine.container.image_id);
        EXPECT_NE(clone.value().id, machine.container.id);
        EXPECT_NE(clone.value().uid, machine.container.uid);
    }
    const MonitorConfig& told = launcher_.last.config;
    EXPECT_TRUE(told.restore.given());
    EXPECT_EQ(told.kernel_fd, -1) << "it would boot if it can't go on";
    const Container after = engine_->find("db").value();
    EXPECT_EQ(after.state, State::kRunning);
    EXPECT_EQ(after.step, Step::kNone);
    EXPECT_TRUE(engine_->fork("db", {}));  // and again
    ASSERT_TRUE(engine_->kill("test-1", SIGKILL));
    EXPECT_TRUE(engine_->start("test-1", {})) << "from its disk";
    EXPECT_FALSE(launcher_.last.config.restore.given());
}

TEST_F(EngineTest, OnlyWhatRunsIsForkedAndNeitherAConsoleNorAReadOnlyRoot) {
    const auto refused = [&](const std::string& name, const std::string& why) {
        const auto forked = engine_->fork(name, {});
        ASSERT_FALSE(forked);
        EXPECT_EQ(forked.error().code, ErrorCode::kConflict);
        EXPECT_THAT(forked.error().message, HasSubstr(why));
    };
    ASSERT_TRUE(engine_->create(config({"sleep"}), "new"));
    refused("new", "is not running");
    const Machine machine = run({"sleep"}, "paused");
    ASSERT_TRUE(engine_->pause("paused"));
    refused("paused", "unpause it first");
    ContainerConfig asked = config({"sleep"});
    asked.read_only = true;
    ASSERT_TRUE(create_and_start(asked, "fixed", {}));
    refused("fixed", "a read-only root");
    asked.read_only = false;
    asked.console = true;
    ASSERT_TRUE(create_and_start(asked, "console", {}));
    refused("console", "a console");
    EXPECT_EQ(engine_->fork("none", {}).error().code, ErrorCode::kNotFound);
    EXPECT_EQ(engine_->fork("paused", {0, ""}).error().code, ErrorCode::kInvalid);
    EXPECT_EQ(engine_->fork("paused", {kMaxClones + 1, ""}).error().code, ErrorCode::kInvalid);
}

TEST_F(EngineTest, AMachineThatCantBeSavedGoesOn) {
    const Machine machine = run({"unsaved"}, "db");
    const auto forked = engine_->fork("db", {});
    ASSERT_FALSE(forked);
    EXPECT_THAT(forked.error().message, HasSubstr("no room"));
    EXPECT_EQ(engine_->find("db").value().step, Step::kNone);
    EXPECT_EQ(engine_->list().value().size(), 1u);
}

TEST_F(EngineTest, AMachineWhoseMemoryCantBeWrittenHasGoneOn) {
    const Machine machine = run({"unwritten"}, "db");
    const auto forked = engine_->fork("db", {});
    ASSERT_FALSE(forked);
    EXPECT_THAT(forked.error().message, HasSubstr("can't be saved: no room"));
    EXPECT_EQ(engine_->find("db").value().step, Step::kNone);
    EXPECT_EQ(engine_->list().value().size(), 1u);
}

TEST_F(EngineTest, WhileAMachineIsWrittenItsMemoryMayBeThereTwice) {
    const Machine machine = run({"sleep"}, "db");
    const uint64_t usual = launcher_.last.memory_max_bytes;
    ASSERT_TRUE(engine_->fork("db", {}));
    EXPECT_EQ(launcher_.memory_limits, std::vector{usual + kDefaultRamBytes});
}

TEST_F(EngineTest, AFailedSealIsSaidAndTheMachineHasItsOldDisk) {
    const Machine machine = run({"sleep"}, "db");
    images_->fail_seal_with = "no space";
    EXPECT_THAT(engine_->fork("db", {}).error().message, HasSubstr("no space"));
    images_->fail_seal_with.clear();
    EXPECT_TRUE(engine_->fork("db", {}));
}

TEST_F(EngineTest, WhereANameIsTakenTheCopiesBeforeItStay) {
    const Machine machine = run({"sleep"}, "db");
    ASSERT_TRUE(engine_->create(config({"sleep"}), "test-2"));
    const auto forked = engine_->fork("db", {3, "test"});
    ASSERT_TRUE(forked);
    EXPECT_EQ(forked.value().clones.size(), 1u);
    ASSERT_TRUE(forked.value().failure);
    EXPECT_THAT(forked.value().failure->message, HasSubstr("test-2"));
}

TEST_F(EngineTest, AContainerOfASavedMachineGoesOnFromItsMemoryOnce) {
    const Machine machine = run({"sleep"}, "db");
    CommitRequest request;
    request.reference = "made";
    request.live = true;
    const auto committed = engine_->commit("db", request);
    ASSERT_TRUE(committed) << committed.error().message;
    EXPECT_EQ(engine_->find("db").value().state, State::kRunning);
    EXPECT_EQ(entries("/snapshots"), 1u);

    ContainerConfig asked;
    asked.image = "made";
    ASSERT_TRUE(create_and_start(asked, "warm", {}));
    EXPECT_TRUE(launcher_.last.config.restore.given());
    EXPECT_EQ(launcher_.last.config.kernel_fd, -1);
    ASSERT_TRUE(engine_->kill("warm", SIGKILL));
    ASSERT_TRUE(engine_->start("warm", {}));
    EXPECT_FALSE(launcher_.last.config.restore.given()) << "its disk has moved on";

    const auto boots = [&](const std::function<void(ContainerConfig&)>& change) {
        ContainerConfig other = asked;
        change(other);
        ASSERT_TRUE(create_and_start(other, "", {}));
        EXPECT_FALSE(launcher_.last.config.restore.given());
    };
    boots([](ContainerConfig& c) { c.cmd = Strings{"sleep", "2"}; });
    boots([](ContainerConfig& c) { c.env = {"A=b"}; });
    boots([](ContainerConfig& c) { c.boot = "cold"; });
    boots([](ContainerConfig& c) { c.tty = true; });
    boots([](ContainerConfig& c) { c.memory_bytes = 1 << 30; });

    // Saved anew, then gone with its image.
    ASSERT_TRUE(engine_->commit("db", request));
    EXPECT_EQ(entries("/snapshots"), 1u);
    std::filesystem::create_directory(root_ + "/snapshots/new-of-the-dead");
    images_->committed.clear();
    ASSERT_TRUE(engine_->sweep());
    EXPECT_EQ(entries("/snapshots"), 0u);
}

TEST_F(EngineTest, ALiveCommitThatDiesLeavesNoMemoryAndItsMachineGoesOn) {
    CommitRequest request;
    request.reference = "made";
    request.live = true;
    for (const char* step : {"committing", "saved", "sealed", "replaced", "written"}) {
        SCOPED_TRACE(step);
        const Machine machine = run({"sleep"}, "db");
        ASSERT_TRUE(dies_at(step, [&](Engine& engine) { (void)engine.commit("db", request); }));
        EXPECT_EQ(engine_->find("db").value().state, State::kRunning);
        ASSERT_TRUE(engine_->sweep());
        EXPECT_EQ(entries("/snapshots"), 0u);
        ASSERT_TRUE(engine_->remove("db", true));
    }
    ASSERT_TRUE(engine_->create(config({"sleep"}), "new"));
    EXPECT_EQ(engine_->commit("new", request).error().code, ErrorCode::kConflict);
    EXPECT_EQ(entries("/snapshots"), 0u);
}

TEST_F(EngineTest, AKilledForkLeavesTheParentRunningWithItsDisk) {
    for (const char* step : {"committing", "saved", "sealed", "replaced", "recorded", "top made",
                             "starting", "planned", "launched", "running"}) {
        SCOPED_TRACE(step);
        const Machine machine = run({"sleep"}, "db");
        ASSERT_TRUE(dies_at(step, [&](Engine& engine) {
            static_cast<void>(engine.fork("db", {1, "copy"}));
        }));
        const Container parent = engine_->find("db").value();
        EXPECT_EQ(parent.state, State::kRunning);
        EXPECT_EQ(parent.step, Step::kNone);
        EXPECT_TRUE(engine_->fork("db", {})) << "its disk is back";
        const auto all = engine_->list().value();
        for (const Container& c : all) {
            EXPECT_EQ(c.step, Step::kNone);
            EXPECT_TRUE(engine_->remove(c.id, true));
        }
        expect_nothing_left();
    }
}

TEST_F(EngineTest, AMonitorThatTakesItsDiskNotBackIsEnded) {
    const Machine machine = run({"greedy"}, "db");
    EXPECT_FALSE(engine_->fork("db", {}));
    EXPECT_EQ(engine_->list().value().front().state, State::kExited);
    ASSERT_TRUE(engine_->remove("db", false));
    expect_nothing_left();
}

}  // namespace
}  // namespace drupe::engine
