// Snapshots that are kept, over the fakes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "api/engine/testing/engine_fixture.h"

namespace drupe::engine {
namespace {

using ::testing::HasSubstr;

const std::string kChain(64, '3');  // of the fake's seals

TEST_F(EngineTest, ACheckpointIsKeptAndItsContainerGoesOn) {
    const Machine machine = run({"sleep"}, "db");
    ASSERT_TRUE(engine_->create_checkpoint("db", {"one", false}));
    EXPECT_EQ(engine_->find("db").value().state, State::kRunning);
    ASSERT_TRUE(engine_->create_checkpoint("db", {"two", true}));
    EXPECT_EQ(engine_->find("db").value().state, State::kExited);
    const auto kept = engine_->checkpoints("db").value();
    ASSERT_EQ(kept.size(), 2u);
    EXPECT_EQ(kept[0].name, "one");
    EXPECT_GT(kept[0].created_at_ns, 0u);
    EXPECT_EQ(kept[1].name, "two");

    ASSERT_TRUE(engine_->remove_checkpoint("db", "one"));
    EXPECT_EQ(engine_->remove_checkpoint("db", "one").error().code, ErrorCode::kNotFound);
    EXPECT_EQ(engine_->checkpoints("db").value().size(), 1u);
    EXPECT_EQ(entries("/tops"), 2u) << "its own, and the pin of the one that is left";
    ASSERT_TRUE(engine_->remove("db", true));
    expect_nothing_left();
    EXPECT_EQ(entries("/snapshots"), 0u) << "they go with their container";
}

TEST_F(EngineTest, OneThatIsToEndDoesntGoOnBefore) {
    const Machine machine = run({"sleep"}, "db");
    EXPECT_FALSE(dies_at("replaced", [](Engine& engine) {
        if (!engine.create_checkpoint("db", {"ready", true})) ::_exit(1);
    }));
    const Container db = engine_->find("db").value();
    EXPECT_EQ(db.state, State::kExited);
    EXPECT_EQ(db.exit_code, 137u);
    EXPECT_EQ(db.error, "");
    EXPECT_TRUE(db.stopped_by_user);
    EXPECT_EQ(engine_->checkpoints("db").value().size(), 1u);
}

TEST_F(EngineTest, OneThatWasToEndGoesOnIfItCantBeKept) {
    for (const char* what : {"unsaved", "unwritten", "lie"}) {
        SCOPED_TRACE(what);
        const Machine machine = run({what}, "db");
        ASSERT_FALSE(engine_->create_checkpoint("db", {"ready", true}));
        const Container db = engine_->find("db").value();
        EXPECT_EQ(db.state, State::kRunning);
        EXPECT_EQ(db.step, Step::kNone);
        EXPECT_FALSE(db.stopped_by_user);
        EXPECT_TRUE(engine_->seal("db")) << "it has no disk";
        ASSERT_TRUE(engine_->remove("db", true));
    }
}

TEST_F(EngineTest, AStartGoesBackToACheckpoint) {
    const Machine machine = run({"sleep"}, "db");
    ASSERT_TRUE(engine_->create_checkpoint("db", {"ready", true}));
    StartRequest request;
    request.checkpoint = "ready";
    ASSERT_TRUE(engine_->start("db", std::move(request)));
    EXPECT_TRUE(launcher_.last.config.restore.given());
    EXPECT_EQ(launcher_.last.config.kernel_fd, -1);
    EXPECT_EQ(images_->reset_to, Strings{kChain}) << "its disk went back, too";

    StartRequest running;
    running.checkpoint = "ready";
    EXPECT_EQ(engine_->start("db", std::move(running)).error().code, ErrorCode::kConflict);
    ASSERT_TRUE(engine_->kill("db", SIGKILL));
    StartRequest missing;
    missing.checkpoint = "never";
    EXPECT_THAT(engine_->start("db", std::move(missing)).error().message,
                HasSubstr("checkpoint never does not exist for container db"));
    ASSERT_TRUE(engine_->start("db", {}));
    EXPECT_FALSE(launcher_.last.config.restore.given());
}

TEST_F(EngineTest, ANewContainerGoesOnFromACheckpointOfAnother) {
    const Machine machine = run({"sleep"}, "db");
    ASSERT_TRUE(engine_->create_checkpoint("db", {"ready", false}));
    ContainerConfig asked;
    asked.from_checkpoint = "db:ready";
    asked.auto_remove = true;
    const Container copy = engine_->create(asked, "copy").value();
    EXPECT_EQ(copy.config.cmd, engine_->find("db").value().config.cmd);
    EXPECT_TRUE(copy.config.auto_remove);
    ASSERT_TRUE(engine_->start("copy", {}));
    EXPECT_TRUE(launcher_.last.config.restore.given());

    const auto refused = [&](const char* why, const std::function<void(ContainerConfig&)>& change) {
        ContainerConfig other;
        other.from_checkpoint = "db:ready";
        change(other);
        const auto made = engine_->create(other, "");
        ASSERT_FALSE(made) << why;
        EXPECT_THAT(made.error().message, HasSubstr(why));
    };
    refused("a command", [](ContainerConfig& c) { c.cmd = Strings{"sleep", "2"}; });
    refused("other limits", [](ContainerConfig& c) { c.memory_bytes = 1 << 30; });
    refused("a terminal", [](ContainerConfig& c) { c.tty = true; });
    refused("CONTAINER:NAME", [](ContainerConfig& c) { c.from_checkpoint = "db"; });
    refused("does not exist", [](ContainerConfig& c) { c.from_checkpoint = "db:other"; });
    refused("No such container", [](ContainerConfig& c) { c.from_checkpoint = "nobody:ready"; });
}

TEST_F(EngineTest, WhatCantBeKeptIsSaid) {
    ASSERT_TRUE(engine_->create(config({"sleep"}), "new"));
    EXPECT_EQ(engine_->create_checkpoint("new", {"one", false}).error().code, ErrorCode::kConflict);
    const Machine machine = run({"sleep"}, "db");
    for (const char* name : {"", "x", "../up", "a/b", "-a"}) {
        const auto made = engine_->create_checkpoint("db", {name, false});
        ASSERT_FALSE(made) << name;
        EXPECT_EQ(made.error().code, ErrorCode::kInvalid);
    }
    ASSERT_TRUE(engine_->create_checkpoint("db", {"one", false}));
    EXPECT_THAT(engine_->create_checkpoint("db", {"one", false}).error().message,
                HasSubstr("checkpoint with name one already exists for container db"));
    EXPECT_TRUE(engine_->checkpoints("new").value().empty());
    const Machine unsaved = run({"unsaved"}, "stuck");
    EXPECT_THAT(engine_->create_checkpoint("stuck", {"one", false}).error().message,
                HasSubstr("no room"));
    ASSERT_TRUE(engine_->sweep());
    EXPECT_EQ(entries("/snapshots"), 1u);
}

TEST_F(EngineTest, ACheckpointThatDiesIsThereOrNotAndItsMachineGoesOn) {
    for (const char* step : {"committing", "saved", "sealed", "replaced", "pinned", "published"}) {
        SCOPED_TRACE(step);
        const Machine machine = run({"sleep"}, "db");
        ASSERT_TRUE(dies_at(step, [&](Engine& engine) {
            static_cast<void>(engine.create_checkpoint("db", {"one", false}));
        }));
        EXPECT_EQ(engine_->find("db").value().state, State::kRunning);
        ASSERT_TRUE(engine_->sweep());
        const bool there = std::string_view(step) == "published";
        EXPECT_EQ(engine_->checkpoints("db").value().size(), there ? 1u : 0u);
        EXPECT_EQ(entries("/tops"), there ? 2u : 1u);
        EXPECT_TRUE(engine_->create_checkpoint("db", {"other", false}));
        ASSERT_TRUE(engine_->remove("db", true));
        expect_nothing_left();
        EXPECT_EQ(entries("/snapshots"), 0u);
    }
}

TEST_F(EngineTest, OneThatWasToEndGoesOnIfItsCommandDies) {
    for (const char* step : {"saved", "sealed", "written", "published", "to end"}) {
        SCOPED_TRACE(step);
        const Machine machine = run({"sleep"}, "db");
        ASSERT_TRUE(dies_at(step, [&](Engine& engine) {
            static_cast<void>(engine.create_checkpoint("db", {"one", true}));
        }));
        EXPECT_EQ(engine_->find("db").value().state, State::kRunning);
        EXPECT_FALSE(engine_->find("db").value().stopped_by_user);
        EXPECT_TRUE(engine_->seal("db")) << "it has no disk";
        ASSERT_TRUE(engine_->remove("db", true));
        ASSERT_TRUE(engine_->sweep());
        expect_nothing_left();
        EXPECT_EQ(entries("/snapshots"), 0u);
    }
}

TEST_F(EngineTest, ARollbackThatDiesLeavesAContainerThatStarts) {
    for (const char* step : {"rolled back", "starting", "planned", "launched"}) {
        SCOPED_TRACE(step);
        const Machine machine = run({"sleep"}, "db");
        ASSERT_TRUE(engine_->create_checkpoint("db", {"ready", true}));
        ASSERT_TRUE(dies_at(step, [&](Engine& engine) {
            StartRequest request;
            request.checkpoint = "ready";
            static_cast<void>(engine.start("db", std::move(request)));
        }));
        if (engine_->find("db").value().state != State::kRunning) {
            StartRequest request;
            request.checkpoint = "ready";
            EXPECT_TRUE(engine_->start("db", std::move(request)));
        }
        ASSERT_TRUE(engine_->remove("db", true));
        expect_nothing_left();
    }
}

TEST_F(EngineTest, MemoryIsForADiskThatNobodyHasWrittenTo) {
    const Machine machine = run({"sleep"}, "db");
    ASSERT_TRUE(engine_->create_checkpoint("db", {"ready", false}));
    ContainerConfig asked;
    asked.from_checkpoint = "db:ready";
    const Container copy = engine_->create(asked, "copy").value();
    const Fd top = open_file(root_ + "/tops/" + copy.id, O_WRONLY).value();
    ASSERT_TRUE(write_all(top.get(), std::as_bytes(std::span("written"))));  // as a copy into it
    const auto started = engine_->start("copy", {});
    ASSERT_FALSE(started) << "it would boot";
    EXPECT_EQ(started.error().code, ErrorCode::kConflict);
    EXPECT_THAT(started.error().message, HasSubstr("snapshot db:ready: its disk was written to"));
    EXPECT_EQ(engine_->find("copy").value().state, State::kCreated);
}

TEST_F(EngineTest, OneOfASnapshotThatWasRemovedDoesntBoot) {
    const Machine machine = run({"sleep"}, "db");
    ASSERT_TRUE(engine_->create_checkpoint("db", {"ready", false}));
    ContainerConfig asked;
    asked.from_checkpoint = "db:ready";
    ASSERT_TRUE(engine_->create(asked, "copy"));
    ASSERT_TRUE(engine_->remove_checkpoint("db", "ready"));
    const auto started = engine_->start("copy", {});
    ASSERT_FALSE(started);
    EXPECT_EQ(started.error().code, ErrorCode::kConflict) << "not as a container that isn't there";
    EXPECT_THAT(started.error().message, HasSubstr("snapshot db:ready: its memory was removed"));
    ASSERT_TRUE(engine_->remove("copy", false));
}

TEST_F(EngineTest, ACopyOfAContainerThatWasOneHasNotItsMemory) {
    const Machine machine = run({"sleep"}, "db");
    ASSERT_TRUE(engine_->create_checkpoint("db", {"ready", false}));
    ContainerConfig asked;
    asked.from_checkpoint = "db:ready";
    ASSERT_TRUE(create_and_start(asked, "first", {}));
    ASSERT_TRUE(engine_->fork("first", {1, "second"}));
    EXPECT_NE(engine_->find("first").value().config.live, "");
    EXPECT_EQ(engine_->find("second").value().config.live, "");
}

TEST_F(EngineTest, ADamagedCheckpointIsSaidBeforeTheDiskIsGone) {
    const Machine machine = run({"sleep"}, "db");
    ASSERT_TRUE(engine_->create_checkpoint("db", {"ready", true}));
    const auto expect_refused = [&](const std::string& why) {
        StartRequest request;
        request.checkpoint = "ready";
        const auto started = engine_->start("db", std::move(request));
        ASSERT_FALSE(started);
        EXPECT_EQ(started.error().code, ErrorCode::kCorrupt);
        EXPECT_THAT(started.error().message, HasSubstr(why));
        EXPECT_TRUE(images_->reset_to.empty());
    };
    const std::string bytes = "more";
    const auto more = std::as_bytes(std::span(bytes));
    ASSERT_TRUE(write_exact(kept_file("memory").get(), more, 100));
    expect_refused("bytes 0 to 4095 don't have their checksum");
    expect_refused("bytes 0 to 4095 don't have their checksum");
    const uint64_t length = launcher_.last.config.memory_bytes;
    ASSERT_TRUE(write_exact(kept_file("memory").get(), more, length));
    expect_refused("bytes long instead of " + std::to_string(length));
    ASSERT_TRUE(write_exact(kept_file("state").get(), more, 50));
    expect_refused("state file: header");
}

TEST_F(EngineTest, AMemoryThatIsNotTheMachinesIsNotKept) {
    const Machine machine = run({"lie"}, "db");  // a monitor that its guest has taken over
    const auto kept = engine_->create_checkpoint("db", {"ready", false});
    ASSERT_FALSE(kept);
    EXPECT_THAT(kept.error().message, HasSubstr("has 1099511627776 bytes, the machine "));
    EXPECT_TRUE(engine_->checkpoints("db").value().empty());
    EXPECT_EQ(engine_->find("db").value().state, State::kRunning);
}

TEST_F(EngineTest, WhatAMachineNeededIsKeptBesideItsMemory) {
    const Machine machine = run({"sleep"}, "db");
    ASSERT_TRUE(engine_->create_checkpoint("db", {"ready", false}));
    ContainerConfig asked;
    asked.from_checkpoint = "db:ready";
    const Machine first = std::move(create_and_start(asked, "", {})).value();
    EXPECT_LT(launcher_.last.config.working_set_fd, 0);
    ASSERT_FALSE(first.kept.id.empty());
    const SavedMachines saved(root_ + "/snapshots");
    // As after a power cut: nobody can make sense of it.
    const std::string folder = root_ + "/snapshots/" + first.kept.id.substr(std::strlen("sha256:"));
    ASSERT_TRUE(open_file(folder + "/working_set", O_WRONLY | O_CREAT, 0600));
    EXPECT_FALSE(saved.knows_working_set(first.kept.id));
    const WorkingSet set{10, {{0, 2}}, {{5, 1}}};
    ASSERT_TRUE(saved.keep_working_set(first.kept.id, set));
    EXPECT_TRUE(saved.knows_working_set(first.kept.id));
    ASSERT_TRUE(create_and_start(asked, "", {}));
    EXPECT_GE(launcher_.last.config.working_set_fd, 0);
    ASSERT_TRUE(engine_->remove_checkpoint("db", "ready"));
    EXPECT_FALSE(saved.keep_working_set(first.kept.id, set));
}

TEST_F(EngineTest, AMemoryIsVerifiedUntilAMachineHasGoneOnFromIt) {
    const Machine machine = run({"sleep"}, "db");
    ASSERT_TRUE(engine_->create_checkpoint("db", {"ready", true}));
    const auto go_on = [&] {
        ContainerConfig asked;
        asked.from_checkpoint = "db:ready";
        auto started = create_and_start(asked, "", {});
        EXPECT_TRUE(started) << started.error().message;
        EXPECT_TRUE(launcher_.last.config.restore.given());
        return std::move(started).value();
    };
    go_on();
    EXPECT_TRUE(launcher_.last.config.restore.verify);
    Machine second = go_on();
    EXPECT_TRUE(launcher_.last.config.restore.verify) << "the first wasn't seen to go on";
    ASSERT_TRUE(engine_->await_started(second).value());
    go_on();
    EXPECT_FALSE(launcher_.last.config.restore.verify);

    ASSERT_TRUE(write_exact(kept_file("memory").get(), std::as_bytes(std::span("m", 1)), 0));
    Machine third = go_on();
    EXPECT_TRUE(launcher_.last.config.restore.verify) << "the file was changed";
    ASSERT_TRUE(engine_->fork(third.container.id, {}));
    EXPECT_FALSE(launcher_.last.config.restore.verify) << "a fork's was written just now";

    const auto roll_back = [&] {
        StartRequest request;
        request.checkpoint = "ready";
        ASSERT_TRUE(engine_->start("db", std::move(request)));
        EXPECT_FALSE(launcher_.last.config.restore.verify) << "it was before the disk went";
    };
    roll_back();
    go_on();
    EXPECT_FALSE(launcher_.last.config.restore.verify) << "the rollback did";
}

TEST_F(EngineTest, AMachineThatOthersLimitsWereGivenIsNotSaved) {
    ContainerConfig asked = config({"sleep"});
    asked.memory_bytes = 1 << 30;
    ASSERT_TRUE(create_and_start(asked, "db", {}));
    ASSERT_TRUE(engine_->create_checkpoint("db", {"large", false}));
    ContainerChanges changes;
    changes.memory_bytes = 256 << 20;
    ASSERT_TRUE(engine_->update("db", changes));
    EXPECT_THAT(engine_->create_checkpoint("db", {"small", false}).error().message,
                HasSubstr("restart it first"));
    EXPECT_THAT(engine_->fork("db", {}).error().message, HasSubstr("restart it first"));
    ASSERT_TRUE(engine_->kill("db", SIGKILL));
    StartRequest request;
    request.checkpoint = "large";
    ASSERT_TRUE(engine_->start("db", std::move(request)));
    EXPECT_EQ(engine_->find("db").value().config.memory_bytes, 1u << 30);
    EXPECT_TRUE(engine_->create_checkpoint("db", {"again", false}));
}

TEST_F(EngineTest, AContainerOfACheckpointIsItsOwnOnTheHost) {
    const Machine machine = run({"sleep"}, "db");
    ASSERT_TRUE(engine_->create_checkpoint("db", {"ready", false}));
    ContainerConfig asked;
    asked.from_checkpoint = "db:ready";
    asked.dns = {"192.0.2.1"};
    asked.extra_hosts = {"db:192.0.2.2"};
    asked.network_mode = "none";
    const ContainerConfig made = engine_->create(asked, "").value().config;
    EXPECT_EQ(made.dns, asked.dns);
    EXPECT_EQ(made.extra_hosts, asked.extra_hosts);
    EXPECT_EQ(made.network_mode, "none");
    asked.open_stdin = true;
    EXPECT_THAT(engine_->create(asked, "").error().message, HasSubstr("without an input"));
}

TEST_F(EngineTest, WhatIsntASavedMachinesPinIsNotRemovedWithIt) {
    const Machine machine = run({"sleep"}, "db");
    const std::string folder = root_ + "/snapshots/" + std::string(kIdDigits, '7');
    std::filesystem::create_directories(folder);
    const std::string words =
        R"({"chain":"","pin":")" + machine.container.id +
        R"(","memory_bytes":0,"nano_cpus":0,"pids_limit":0,"memory_file_bytes":0,"tty":false,)"
        R"("open_stdin":false,"protocol":4,"container":"gone","name":"x","created_at_ns":0})";
    const Fd file = open_file(folder + "/machine.json", O_WRONLY | O_CREAT, 0600).value();
    ASSERT_TRUE(write_all(file.get(), std::as_bytes(std::span(words))));
    ASSERT_TRUE(engine_->sweep());
    EXPECT_EQ(entries("/tops"), 1u);
}

}  // namespace
}  // namespace drupe::engine
