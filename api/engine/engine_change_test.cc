// Pauses, names, limits and options; what is shown of a running container.

#include "api/engine/testing/engine_fixture.h"

namespace drupe::engine {
namespace {

TEST_F(EngineTest, APausedContainerSaysSoAndGoesOnWhenItIsTold) {
    const Machine machine = run({"sleep"}, "web");
    ASSERT_TRUE(engine_->pause("web"));
    EXPECT_EQ(engine_->find("web").value().state, State::kPaused);
    const auto again = engine_->pause("web");
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().message, "Container " + machine.container.id + " is already paused");
    EXPECT_EQ(again.error().code, ErrorCode::kConflict);
    EXPECT_FALSE(engine_->exec("web", {}));
    ASSERT_TRUE(engine_->unpause("web"));
    EXPECT_EQ(engine_->find("web").value().state, State::kRunning);
    const auto twice = engine_->unpause("web");
    ASSERT_FALSE(twice);
    EXPECT_EQ(twice.error().message, "Container " + machine.container.id + " is not paused");
}

TEST_F(EngineTest, APausedContainerIsKilledStoppedAndSignalledAsARunningOneIs) {
    for (const std::string how : {"kill", "stop"}) {
        const Machine machine = run({"sleep"}, how);
        ASSERT_TRUE(engine_->pause(how));
        ASSERT_TRUE(how == "kill" ? engine_->kill(how, SIGKILL) : engine_->stop(how, {}));
        EXPECT_EQ(engine_->find(how).value().state, State::kExited);
    }
    const Machine machine = run({"sleep"}, "hup");
    ASSERT_TRUE(engine_->pause("hup"));
    ASSERT_TRUE(engine_->kill("hup", SIGHUP));
    EXPECT_EQ(engine_->find("hup").value().state, State::kRunning);
}

TEST_F(EngineTest, APauseThatWasCutShortIsFinishedByTheNextCommand) {
    const Machine machine = run({"sleep"}, "web");
    ASSERT_TRUE(dies_at("paused", [](Engine& engine) { (void)engine.pause("web"); }));
    EXPECT_EQ(engine_->find("web").value().state, State::kRunning);
    ASSERT_TRUE(engine_->pause("web"));
    EXPECT_EQ(engine_->find("web").value().state, State::kPaused);
    ASSERT_TRUE(engine_->unpause("web"));
}

TEST_F(EngineTest, ACommitOfAPausedContainerLeavesItPaused) {
    const Machine machine = run({"sleep"}, "web");
    ASSERT_TRUE(engine_->pause("web"));
    const auto committed = engine_->commit("web", {});
    ASSERT_TRUE(committed) << committed.error().message;
    EXPECT_TRUE(committed.value().consistent);
    EXPECT_EQ(engine_->find("web").value().state, State::kPaused);
    EXPECT_FALSE(engine_->pause("web"));
}

TEST_F(EngineTest, OnlyWhatRunsIsPaused) {
    ASSERT_TRUE(engine_->create(config({"sleep"}), "new"));
    const auto paused = engine_->pause("new");
    ASSERT_FALSE(paused);
    EXPECT_THAT(paused.error().message, HasSubstr("is not running"));
}

TEST_F(EngineTest, ARenamedContainerIsFoundByItsNewNameAlone) {
    ASSERT_TRUE(engine_->create(config({"sleep"}), "old"));
    ASSERT_TRUE(engine_->create(config({"sleep"}), "other"));
    const Machine machine = run({"sleep"}, "running");
    ASSERT_TRUE(engine_->rename("old", "/new"));
    EXPECT_TRUE(engine_->find("new"));
    EXPECT_FALSE(engine_->find("old"));
    ASSERT_TRUE(engine_->rename("running", "old"));
    EXPECT_EQ(engine_->find("old").value().id, machine.container.id);
    const auto taken = engine_->rename("new", "other");
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().code, ErrorCode::kConflict);
    EXPECT_THAT(taken.error().message, HasSubstr("\"/other\" is already in use by container"));
    EXPECT_EQ(engine_->rename("new", "new").error().message,
              "Renaming a container with the same name as its current name");
    EXPECT_EQ(engine_->rename("new", "").error().code, ErrorCode::kInvalid);
    EXPECT_EQ(engine_->rename("new", "a b").error().code, ErrorCode::kInvalid);
    EXPECT_EQ(engine_->rename("nobody", "x1").error().code, ErrorCode::kNotFound);
}

TEST_F(EngineTest, AStoppedContainersLimitsAreThoseOfItsNextMachine) {
    ASSERT_TRUE(engine_->create(config({"sleep"}), "web"));
    ContainerChanges changes;
    changes.memory_bytes = 1ull << 30;
    changes.pids_limit = 50;
    changes.restart = RestartPolicy{RestartPolicy::Kind::kOnFailure, 3};
    ASSERT_TRUE(engine_->update("web", changes));
    const Container row = engine_->find("web").value();
    EXPECT_EQ(row.config.memory_bytes, 1ull << 30);
    EXPECT_EQ(row.config.restart.max_retries, 3u);
    EXPECT_EQ(row.config.cmd, config({"sleep"}).cmd) << "the rest stays";
    ASSERT_TRUE(engine_->start("web", {}));
    EXPECT_EQ(launcher_.last.config.workload.memory_max, 1ull << 30);
    EXPECT_EQ(launcher_.last.config.workload.pids_max, 50u);
    changes = {};
    changes.memory_bytes = 1;
    EXPECT_EQ(engine_->update("web", changes).error().code, ErrorCode::kInvalid);
}

TEST_F(EngineTest, ARunningContainersLimitsChangeAtOnceWithinItsMachine) {
    ContainerConfig asked = config({"sleep"});
    asked.memory_bytes = 200 << 20;
    asked.nano_cpus = 2'000'000'000;
    const auto machine = create_and_start(asked, "web", {});
    ASSERT_TRUE(machine);
    ContainerChanges changes;
    changes.memory_bytes = 100 << 20;
    changes.pids_limit = 9;
    changes.nano_cpus = 500'000'000;
    ASSERT_TRUE(engine_->update("web", changes));
    EXPECT_EQ(launcher_.cpu_percent, 50u);
    const auto log = read_file(engine_->paths().log_file(machine.value().container.id), 4096);
    EXPECT_THAT(log.value(), HasSubstr("limits 104857600 9"));
    changes = {};
    changes.memory_bytes = 200 << 20;  // the machine is still as large as it was
    EXPECT_TRUE(engine_->update("web", changes));
    changes.memory_bytes = 2ull << 30;
    const auto large = engine_->update("web", changes);
    ASSERT_FALSE(large);
    EXPECT_EQ(large.error().code, ErrorCode::kConflict);
    EXPECT_THAT(large.error().message, HasSubstr("--memory 2048m needs a machine of 4096 MiB"));
    changes = {};
    changes.nano_cpus = 3'000'000'000;
    EXPECT_THAT(engine_->update("web", changes).error().message, HasSubstr("--cpus"));
    EXPECT_EQ(engine_->find("web").value().config.memory_bytes, 200u << 20);
}

TEST_F(EngineTest, AContainerThatIsRemovedAtItsEndTakesNoRestartPolicy) {
    ContainerConfig asked = config({"sleep"});
    asked.auto_remove = true;
    const auto machine = create_and_start(asked, "web", {});
    ASSERT_TRUE(machine);
    ContainerChanges changes;
    changes.restart = RestartPolicy{RestartPolicy::Kind::kAlways, 0};
    EXPECT_THAT(engine_->update("web", changes).error().message, HasSubstr("AutoRemove"));
}

TEST_F(EngineTest, TheProcessesOfARunningContainerAreShownWithoutControlCharacters) {
    const Machine machine = run({"sleep"}, "web");
    const auto table = engine_->top("web", "-o pid,comm");
    ASSERT_TRUE(table) << table.error().message;
    EXPECT_THAT(table.value().titles, ::testing::ElementsAre("PID", "COMMAND"));
    ASSERT_EQ(table.value().rows.size(), 1u);
    EXPECT_THAT(table.value().rows[0], ::testing::ElementsAre("1", "bad?[m"));
    EXPECT_EQ(engine_->top("web", "-o wchan").error().code, ErrorCode::kUnsupported);
    ASSERT_TRUE(engine_->pause("web"));
    EXPECT_THAT(engine_->top("web").error().message, HasSubstr("is paused"));
    ASSERT_TRUE(engine_->kill("web", SIGKILL));
    EXPECT_THAT(engine_->top("web").error().message, HasSubstr("is not running"));
}

TEST_F(EngineTest, StatsAreTheHostsAndTheGuestsWhileItRuns) {
    const Machine machine = run({"sleep"}, "web");
    Stats stats = engine_->stats("web").value();
    ASSERT_TRUE(stats.host && stats.guest);
    EXPECT_EQ(stats.host->cpu_us, 1234u);
    EXPECT_GT(stats.shared_bytes, 0u);
    EXPECT_EQ(stats.guest->memory_bytes, 77u);
    EXPECT_EQ(stats.guest->processes, 5u);
    EXPECT_EQ(stats.memory_limit_bytes, 512u << 20);
    EXPECT_EQ(stats.vcpus, 1u);
    ASSERT_TRUE(engine_->pause("web"));
    stats = engine_->stats("web").value();
    EXPECT_TRUE(stats.host);
    EXPECT_FALSE(stats.guest);
    ASSERT_TRUE(engine_->kill("web", SIGKILL));
    stats = engine_->stats("web").value();
    EXPECT_FALSE(stats.host || stats.guest);
}

TEST_F(EngineTest, TheGuestIsToldWhatTheOptionsSay) {
    ContainerConfig asked = config({"sleep"});
    asked.cap_drop = {"ALL"};
    asked.cap_add = {"KILL"};
    asked.groups = {"audio"};
    asked.init = true;
    asked.shm_bytes = 1 << 20;
    asked.pids_limit = 7;
    asked.tmpfs["/run"] = "size=1m";
    asked.sysctls["kernel.panic"] = "3";
    asked.dns = {"10.0.0.2"};
    asked.extra_hosts = {"db:10.0.0.3"};
    asked.stdin_once = true;
    asked.log.max_files = 3;
    asked.log.max_size_bytes = 4096;
    ASSERT_TRUE(create_and_start(asked, "web", {}));
    const MonitorConfig& told = launcher_.last.config;
    EXPECT_EQ(told.workload.capabilities, 1u << 5);
    EXPECT_EQ(told.workload.groups, Strings{"audio"});
    EXPECT_TRUE(told.workload.init);
    EXPECT_EQ(told.workload.shm_bytes, 1u << 20);
    EXPECT_EQ(told.workload.pids_max, 7u);
    EXPECT_EQ(told.workload.tmpfs.at(0).path, "/run");
    EXPECT_EQ(told.workload.sysctls, Strings{"kernel/panic=3"});
    EXPECT_EQ(told.identity.resolv_conf, Strings{"nameserver 10.0.0.2"});
    EXPECT_EQ(told.identity.hosts.back(), "10.0.0.3\tdb");
    EXPECT_TRUE(told.stdin_once);
    EXPECT_EQ(told.log.fds.size(), 3u);
    EXPECT_EQ(told.log.max_file_bytes, 4096u);
    asked.log = {"none", 0, 0};
    ASSERT_TRUE(create_and_start(asked, "quiet", {}));
    EXPECT_TRUE(launcher_.last.config.log.fds.empty());
    asked.log = {"json-file", 4096, 0};
    ASSERT_TRUE(create_and_start(asked, "one", {}));
    EXPECT_EQ(launcher_.last.config.log.fds.size(), 1u);
}

}  // namespace
}  // namespace drupe::engine
