// A container from its creation to its removal.

#include "api/engine/testing/engine_fixture.h"

namespace drupe::engine {
namespace {

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

TEST_F(EngineTest, AMachineThatEndsUnderAnOrderIsNotRunning) {
    const std::string id = run({"sleep"}).container.id;
    ExecRequest last;
    last.argv = {"die"};
    const auto refused = engine_->exec(id, std::move(last));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::kConflict);
    EXPECT_EQ(refused.error().message, "container " + id + " is not running");
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

}  // namespace
}  // namespace drupe::engine
