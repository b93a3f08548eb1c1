#include "api/engine/engine.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "api/engine/testing/fakes.h"

namespace drupe::engine {
namespace {

using testing::FakeImages;
using testing::FakeLauncher;
using ::testing::HasSubstr;
using Strings = std::vector<std::string>;

/// A $DRUPE_ROOT of its own, and everything an engine needs, faked.
class EngineTest : public ::testing::Test {
  protected:
    void SetUp() override {
        char path[] = "/tmp/drupe-engine-XXXXXX";
        ASSERT_NE(::mkdtemp(path), nullptr);
        root_ = path;
        for (const char* part : {"kernel", "initrd", "monitor", "kvm"}) {
            ASSERT_TRUE(open_file(root_ + "/" + part, O_WRONLY | O_CREAT, 0600));
        }
        open();
    }
    void TearDown() override {
        if (engine_) {
            const auto all = engine_->list();
            if (all) {
                for (const Container& c : all.value()) (void)engine_->remove(c.id, true);
            }
        }
        for (const pid_t pid : launcher_.pids) ::kill(pid, SIGKILL);
        std::filesystem::remove_all(root_);
    }

    /// A new engine, as the next command has.
    void open(std::function<void(std::string_view)> at_step = {}) {
        engine_.reset();
        images_.reset();
        images_ = FakeImages::open(root_).value();
        Engine::Options options;
        options.paths.root = root_;
        options.paths.run = root_ + "/run";
        options.paths.kernel = root_ + "/kernel";
        options.paths.initrd = root_ + "/initrd";
        options.paths.monitor = root_ + "/monitor";
        options.paths.kvm = root_ + "/kvm";
        options.at_step = std::move(at_step);
        engine_ = Engine::open(std::move(options), *images_, launcher_).value();
    }

    static ContainerConfig config(Strings argv) {
        ContainerConfig config;
        config.image = "image";
        config.cmd = std::move(argv);
        return config;
    }
    Result<Machine> create_and_start(const ContainerConfig& asked, const std::string& name,
                                     StartRequest request) {
        TRY_ASSIGN(const Container created, engine_->create(asked, name));
        return engine_->start(created.id, std::move(request));
    }
    Machine run(Strings argv, const std::string& name = "") {
        auto machine = create_and_start(config(std::move(argv)), name, {});
        EXPECT_TRUE(machine) << machine.error().message;
        return std::move(machine).value();
    }

    /// Runs work in another process that ends, like a killed command, at the named step. True if
    /// the step was reached.
    bool dies_at(const std::string& name, const std::function<void(Engine&)>& work) {
        engine_.reset();
        images_.reset();
        const pid_t child = ::fork();
        if (child == 0) {
            open([&](std::string_view step) {
                if (step == name) _exit(77);
            });
            work(*engine_);
            _exit(0);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        open();
        return WIFEXITED(status) && WEXITSTATUS(status) == 77;
    }

    [[nodiscard]] size_t entries(const std::string& folder) const {
        size_t count = 0;
        std::error_code error;
        for (const auto& entry : std::filesystem::directory_iterator(root_ + folder, error)) {
            static_cast<void>(entry);
            ++count;
        }
        return count;
    }
    /// Nothing is left of any container: no row, file, lock or process.
    void expect_nothing_left() {
        EXPECT_TRUE(engine_->list().value().empty());
        EXPECT_EQ(entries("/tops"), 0u);
        EXPECT_EQ(entries("/containers"), 0u);
        EXPECT_EQ(entries("/run/vm"), 0u);
    }

    std::string root_;
    std::unique_ptr<FakeImages> images_;
    FakeLauncher launcher_;
    std::unique_ptr<Engine> engine_;
};

TEST_F(EngineTest, ACreatedContainerIsFoundByNameIdAndPrefix) {
    const Container made = engine_->create(config({"sleep"}), "web").value();
    EXPECT_EQ(made.state, State::kCreated);
    for (const std::string& query : {std::string("web"), std::string("/web"), made.id,
                                     short_id(made.id), made.id.substr(0, 3)}) {
        EXPECT_EQ(engine_->find(query).value().id, made.id) << query;
    }
    for (const char* query : {"", "/", "we", "webx", "*", "zz"}) {
        const auto found = engine_->find(query);
        ASSERT_FALSE(found) << query;
        EXPECT_EQ(found.error().code, ErrorCode::kNotFound);
    }
}

TEST_F(EngineTest, ATakenNameIsAConflictAndLeavesNothing) {
    const Container first = engine_->create(config({"sleep"}), "web").value();
    const auto second = engine_->create(config({"sleep"}), "web");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::kConflict);
    EXPECT_THAT(second.error().message, HasSubstr(first.id));
    EXPECT_EQ(entries("/containers"), 1u);
    EXPECT_EQ(entries("/tops"), 1u);
}

TEST_F(EngineTest, AMissingImageIsNotFound) {
    ContainerConfig asked = config({"sleep"});
    asked.image = "nosuch";
    EXPECT_EQ(engine_->create(asked, "").error().code, ErrorCode::kNotFound);
    expect_nothing_left();
}

TEST_F(EngineTest, TheExitCodeAndTheRecordComeBack) {
    Machine machine = run({"exit", "3"});
    const Ended ended = engine_->conclude(machine).value();
    EXPECT_EQ(ended.container.exit_code, 3u);
    EXPECT_EQ(ended.record.reason, "exited");
    const Container container = engine_->find(machine.container.id).value();
    EXPECT_EQ(container.state, State::kExited);
    EXPECT_EQ(container.exit_code, 3u);
    EXPECT_NE(container.finished_at_ns, 0u);
}

TEST_F(EngineTest, ADetachedContainersEndIsFoundByTheNextCommand) {
    const std::string id = run({"sleep"}).container.id;
    open();
    EXPECT_EQ(engine_->find(id).value().state, State::kRunning);
    ASSERT_TRUE(engine_->stop(id, 5));
    EXPECT_EQ(engine_->find(id).value().state, State::kExited);
    EXPECT_EQ(engine_->find(id).value().exit_code, 143u);
    EXPECT_TRUE(engine_->stop(id, 5));  // already
}

TEST_F(EngineTest, AWorkloadThatIgnoresItsStopSignalIsKilledAfterTheTimeout) {
    const std::string id = run({"stubborn"}).container.id;
    ASSERT_TRUE(engine_->stop(id, 0));
    EXPECT_EQ(engine_->find(id).value().exit_code, 137u);
}

TEST_F(EngineTest, AMonitorThatAnswersNothingIsKilledAndItsContainerHasEnded) {
    const std::string id = run({"deaf"}).container.id;
    launcher_.fail_with.clear();
    ASSERT_TRUE(engine_->remove(id, true));
    expect_nothing_left();
}

TEST_F(EngineTest, AKilledMonitorsContainerIsReportedExited) {
    const std::string id = run({"sleep"}).container.id;
    ::kill(launcher_.pids.back(), SIGKILL);
    ::waitpid(launcher_.pids.back(), nullptr, 0);
    const Container container = engine_->find(id).value();
    EXPECT_EQ(container.state, State::kExited);
    EXPECT_EQ(container.exit_code, 255u);
    EXPECT_EQ(container.reason, "monitor-lost");
}

TEST_F(EngineTest, ARecordThatIsNoneIsTreatedAsALostMonitor) {
    Machine machine = run({"garbage"});
    ASSERT_TRUE(engine_->kill(machine.container.id, SIGKILL));
    EXPECT_EQ(engine_->find(machine.container.id).value().reason, "monitor-lost");
}

TEST_F(EngineTest, AProgramThatIsMissingLeavesTheContainerCreatedWithItsCodeAndWhy) {
    Machine machine = run({"missing"});
    EXPECT_FALSE(engine_->await_started(machine).value());
    const Ended ended = engine_->conclude(machine).value();
    EXPECT_EQ(ended.container.exit_code, 127u);
    EXPECT_EQ(ended.container.state, State::kCreated);
    EXPECT_THAT(ended.container.error, HasSubstr("not found"));
}

TEST_F(EngineTest, ARefusedWaitIsAnErrorAndNoEnd) {
    Machine machine = run({"crowded"});
    const auto ended = engine_->conclude(machine);
    ASSERT_FALSE(ended);
    EXPECT_THAT(ended.error().message, HasSubstr("too many clients wait"));
    EXPECT_EQ(engine_->find(machine.container.id).value().state, State::kRunning);
    ASSERT_TRUE(engine_->stop(machine.container.id, 5));
    EXPECT_EQ(engine_->find(machine.container.id).value().exit_code, 143u);
}

TEST_F(EngineTest, OneThatIsStuckHidesNoOther) {
    const std::string stuck = run({"sleep"}, "stuck").container.id;
    const std::string other = run({"sleep"}, "other").container.id;
    ::kill(launcher_.pids.front(), SIGKILL);
    ::waitpid(launcher_.pids.front(), nullptr, 0);
    const std::string stranger(kIdDigits, '5');
    launcher_.stuck = {stuck, stranger};
    launcher_.left = {stranger};
    EXPECT_EQ(engine_->list().value().size(), 2u);
    EXPECT_EQ(engine_->find(other).value().state, State::kRunning);
    launcher_.stuck.clear();
    EXPECT_EQ(engine_->list().value().size(), 2u);
}

TEST_F(EngineTest, AnExitedContainerStartsAgainWithItsTop) {
    const std::string id = run({"sleep"}).container.id;
    ASSERT_TRUE(engine_->kill(id, SIGKILL));
    EXPECT_EQ(entries("/tops"), 1u);
    Machine again = engine_->start(id, {}).value();
    EXPECT_TRUE(engine_->await_started(again).value());
    EXPECT_EQ(engine_->find(id).value().state, State::kRunning);
    const auto twice = engine_->start(id, {});
    ASSERT_FALSE(twice);
    EXPECT_EQ(twice.error().code, ErrorCode::kConflict);
}

TEST_F(EngineTest, ARunningContainerIsRemovedByForceOnly) {
    const std::string id = run({"sleep"}).container.id;
    const auto refused = engine_->remove(id, false);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::kConflict);
    EXPECT_THAT(refused.error().message, HasSubstr("container is running: stop the container"));
    ASSERT_TRUE(engine_->remove(id, true));
    expect_nothing_left();
}

TEST_F(EngineTest, AnAutoRemovedContainerIsGoneWithItsEndAndItsFilesAfterTheCleanUp) {
    ContainerConfig asked = config({"exit", "4"});
    asked.auto_remove = true;
    Machine machine = create_and_start(asked, "", {}).value();
    EXPECT_TRUE(launcher_.last.config.root.discard_changes);
    EXPECT_EQ(engine_->conclude(machine).value().container.exit_code, 4u);
    EXPECT_FALSE(engine_->find(machine.container.id));
    ASSERT_TRUE(engine_->clean_up(machine.container.id));
    expect_nothing_left();
}

TEST_F(EngineTest, TheEndIsKnownThoughSomebodyElseSawItFirst) {
    ContainerConfig asked = config({"exit", "4"});
    asked.auto_remove = true;
    Machine machine = create_and_start(asked, "", {}).value();
    const std::string id = machine.container.id;
    for (int i = 0; i < 2000 && engine_->find(id); ++i) ::usleep(5000);  // as any command does
    ASSERT_TRUE(engine_->sweep());
    const Ended ended = engine_->conclude(machine).value();
    EXPECT_EQ(ended.record.reason, "exited");
    EXPECT_EQ(ended.container.exit_code, 4u);
}

TEST_F(EngineTest, AnAutoRemovedContainerWhoseCommandDiedIsRemovedByTheNextOne) {
    ContainerConfig asked = config({"exit", "0"});
    asked.auto_remove = true;
    const std::string id = create_and_start(asked, "", {}).value().container.id;
    open();
    for (int i = 0; i < 2000 && engine_->find(id); ++i) ::usleep(5000);
    ASSERT_TRUE(engine_->clean_up(id));
    expect_nothing_left();
}

TEST_F(EngineTest, WhatCantBeLaunchedSaysWhyAndCanBeTriedAgain) {
    launcher_.fail_with = "cgroup: no";
    const auto failed = create_and_start(config({"sleep"}), "web", {});
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().message, "cgroup: no");
    EXPECT_EQ(engine_->find("web").value().state, State::kCreated);
    EXPECT_EQ(engine_->find("web").value().error, "cgroup: no");
    launcher_.fail_with.clear();
    EXPECT_TRUE(engine_->start("web", {}));
}

TEST_F(EngineTest, CommandsToWhatDoesNotRunAreConflicts) {
    const std::string id = engine_->create(config({"sleep"}), "").value().id;
    EXPECT_EQ(engine_->kill(id, SIGTERM).error().code, ErrorCode::kConflict);
    EXPECT_EQ(engine_->attach(id, {}).error().code, ErrorCode::kConflict);
    EXPECT_EQ(engine_->exec(id, {}).error().code, ErrorCode::kConflict);
}

TEST_F(EngineTest, AnExecHasItsOwnStreamsAndExitCode) {
    const std::string id = run({"sleep"}).container.id;
    FdPair pipe = make_pipe().value();
    ExecRequest request;
    request.argv = {"exit", "6"};
    request.stdio.stdout_fd = std::move(pipe.second);
    ExecSession session = engine_->exec(id, std::move(request)).value();
    EXPECT_EQ(read_all(pipe.first.get(), 100).value(), "exec\n");
    control::Request wait;
    wait.op = control::Op::kWait;
    wait.session = session.session;
    EXPECT_EQ(session.client.call(std::move(wait)).value().exit->status, 6u);

    ExecRequest missing;
    missing.argv = {"missing"};
    const auto refused = engine_->exec(id, std::move(missing));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().os_errno, ENOENT);
}

TEST_F(EngineTest, StreamsGoThroughTheDescriptorsOfTheStart) {
    FdPair in = make_pipe().value();
    FdPair out = make_pipe().value();
    StartRequest request;
    request.stdio.stdin_fd = std::move(in.first);
    request.stdio.stdout_fd = std::move(out.second);
    ContainerConfig asked = config({"cat"});
    asked.open_stdin = true;
    Machine machine = create_and_start(asked, "", std::move(request)).value();
    ASSERT_TRUE(write_all(in.second.get(), std::as_bytes(std::span("abc", 3))));
    in.second.reset();
    EXPECT_EQ(read_all(out.first.get(), 100).value(), "abc");
    EXPECT_EQ(engine_->conclude(machine).value().container.exit_code, 0u);
}

TEST_F(EngineTest, EveryContainerHasAUidOfItsOwnAndAFreedOneIsNotTakenNext) {
    const Container a = engine_->create(config({"sleep"}), "aa").value();
    const Container b = engine_->create(config({"sleep"}), "bb").value();
    EXPECT_NE(a.uid, b.uid);
    ASSERT_TRUE(engine_->remove("aa", false));
    const Container c = engine_->create(config({"sleep"}), "cc").value();
    EXPECT_NE(c.uid, a.uid);
    EXPECT_NE(c.uid, b.uid);
}

CommitRequest commit_request() {
    CommitRequest request;
    request.reference = "made";
    request.words.comment = "why";
    return request;
}

TEST_F(EngineTest, ARunningContainerIsCommittedAndGoesOn) {
    const Machine machine = run({"sleep"}, "cc");
    const auto committed = engine_->commit("cc", commit_request());
    ASSERT_TRUE(committed) << committed.error().message;
    EXPECT_TRUE(committed.value().consistent);
    ASSERT_EQ(images_->committed.size(), 1u);
    EXPECT_THAT(images_->committed[0], HasSubstr("\"comment\":\"why\""));
    const Container after = engine_->find("cc").value();
    EXPECT_EQ(after.state, State::kRunning);
    EXPECT_EQ(after.step, Step::kNone);
    EXPECT_TRUE(engine_->commit("cc", commit_request()));  // and again
}

TEST_F(EngineTest, AStoppedContainerIsCommitted) {
    ASSERT_TRUE(engine_->create(config({"sleep"}), "cc"));
    const auto committed = engine_->commit("cc", commit_request());
    ASSERT_TRUE(committed) << committed.error().message;
    EXPECT_TRUE(committed.value().consistent);
    EXPECT_TRUE(engine_->start("cc", {}));
}

TEST_F(EngineTest, AGuestThatCantFreezeIsCommittedAsAfterALossOfPower) {
    const Machine machine = run({"unfrozen"}, "cc");
    EXPECT_FALSE(engine_->commit("cc", commit_request()).value().consistent);
}

TEST_F(EngineTest, ACommitWithoutAPauseFreezesNothing) {
    const Machine machine = run({"sleep"}, "cc");
    CommitRequest request = commit_request();
    request.pause = false;
    EXPECT_FALSE(engine_->commit("cc", request).value().consistent);
    EXPECT_TRUE(engine_->commit("cc", commit_request()).value().consistent);
}

TEST_F(EngineTest, AFailedSealGivesTheMachineItsOldDiskBack) {
    const Machine machine = run({"sleep"}, "cc");
    images_->fail_seal_with = "no space";
    const auto failed = engine_->commit("cc", commit_request());
    ASSERT_FALSE(failed);
    EXPECT_THAT(failed.error().message, HasSubstr("no space"));
    EXPECT_EQ(engine_->find("cc").value().step, Step::kNone);
    images_->fail_seal_with.clear();
    EXPECT_TRUE(engine_->commit("cc", commit_request()));
}

TEST_F(EngineTest, AChangeThatIsNoneTouchesNothing) {
    const Machine machine = run({"sleep"}, "cc");
    CommitRequest request = commit_request();
    request.words.changes = {"RUN rm -rf /"};
    EXPECT_EQ(engine_->commit("cc", request).error().code, ErrorCode::kInvalid);
    EXPECT_TRUE(images_->committed.empty());
}

TEST_F(EngineTest, AKilledCommitLeavesTheMachineWithADisk) {
    for (const char* step : {"committing", "released", "sealed", "replaced"}) {
        const Machine machine = run({"sleep"}, "cc");
        ASSERT_TRUE(dies_at(step, [](Engine& engine) {
            static_cast<void>(engine.commit("cc", commit_request()));
        })) << step;
        const Container container = engine_->find("cc").value();
        EXPECT_EQ(container.state, State::kRunning) << step;
        EXPECT_EQ(container.step, Step::kNone) << step;
        const auto again = engine_->commit("cc", commit_request());
        EXPECT_TRUE(again) << step << ": " << again.error().message;
        ASSERT_TRUE(engine_->remove("cc", true)) << step;
    }
}

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
