// A container's life and its programs.

#include "monitor/testing/container_fixture.h"

namespace drupe::testing {
namespace {

TEST_F(ContainerTest, AWorkloadRunsItsOutputIsKeptAndTheGuestHalts) {
    host_.output = "hello\n";
    const ExitRecord record = run([](FakeGuest& guest) {
        guest.start_workload();
        guest.send(Kind::kExited, 0, Exited{kWorkloadSession, 3, 0, false});
        guest.answer(Kind::kShutdown);
        guest.send(Kind::kHalted, 0, Shutdown{});
    });
    EXPECT_EQ(started_, "");
    EXPECT_EQ(record.reason, "exited");
    EXPECT_EQ(record.status, 3U);
    EXPECT_EQ(record.error, "");
    EXPECT_EQ(record.guest_faults, 2U);
    EXPECT_EQ(record.counts.at("workload_started.exits"), 7U);
    EXPECT_EQ(host_.disks_attached, 1);
    EXPECT_EQ(host_.may_rest, 1);
    EXPECT_NE(log_text().find(R"("log":"hello\n")"), std::string::npos) << log_text();
}

/// Counts the rests before a template is saved, and doesn't take them.
class RestlessLoop final : public EventLoop {
  public:
    Watch on_readable(int fd, std::function<void()> callback) override {
        return loop_->on_readable(fd, std::move(callback));
    }
    Watch on_writable(int fd, std::function<void()> callback) override {
        return loop_->on_writable(fd, std::move(callback));
    }
    Watch after(std::chrono::nanoseconds delay, std::function<void()> callback) override {
        if (delay != Container::kReportRest) return loop_->after(delay, std::move(callback));
        ++rests;
        return loop_->after({}, std::move(callback));
    }
    void post(std::function<void()> callback) override { loop_->post(std::move(callback)); }
    void run() override { loop_->run(); }
    void stop() override { loop_->stop(); }
    uint64_t now_ns() const override { return loop_->now_ns(); }

    int rests = 0;

  private:
    std::unique_ptr<EventLoop> loop_ = make_event_loop();
};

class TemplateTest : public ContainerTest {
  protected:
    /// Of a machine that is to be saved into these files, whose guest does what it is told.
    ExitRecord run_template(const FdPair& files) {
        config_.save = {std::move(files.first.duplicate()).value().release(),
                        std::move(files.second.duplicate()).value().release()};
        return run([](FakeGuest& guest) {
            guest.hello();
            guest.answer(Kind::kPrepare);
            (void)guest.next();  // until the machine is gone
        });
    }
};

TEST_F(TemplateTest, IsSavedOnceTheGuestHasNothingElseToDo) {
    FdPair files = std::move(make_pipe()).value();
    for (const bool saved : {true, false}) {
        loop_ = std::make_unique<RestlessLoop>();
        host_.save_result = saved ? ok() : Status(Error{ErrorCode::kIo, "no room"});
        const ExitRecord record = run_template(files);
        EXPECT_EQ(record.reason, saved ? "saved" : "vmm-error");
        EXPECT_EQ(record.status, saved ? 0U : 125U);
        EXPECT_EQ(record.error, saved ? "" : "no room");
    }
    EXPECT_EQ(host_.vcpu_calls, "save save ");
    EXPECT_EQ(host_.disks_attached, 0);
}

TEST_F(TemplateTest, WaitsUntilNoFreeMemoryIsReportedButNotForEver) {
    FdPair files = std::move(make_pipe()).value();
    const std::map<uint64_t, int> expected{{0, 1}, {3, 3}, {1000, Container::kMaxReportRests}};
    for (const auto& [reports, rests] : expected) {
        loop_ = std::make_unique<RestlessLoop>();
        host_.reports_left = reports;
        const ExitRecord record = run_template(files);
        EXPECT_EQ(record.reason, "saved");
        EXPECT_EQ(static_cast<const RestlessLoop&>(*loop_).rests, rests) << reports;
    }
}

TEST_F(ContainerTest, ATemplateOfAGuestThatCantPrepareIsntSaved) {
    FdPair files = std::move(make_pipe()).value();
    config_.save = {files.first.release(), files.second.release()};
    const ExitRecord record = run([](FakeGuest& guest) {
        guest.hello();
        guest.answer(Kind::kPrepare, ENODEV, "no tmpfs");
    });
    EXPECT_EQ(record.reason, "agent-lost");
    EXPECT_EQ(record.error, "no tmpfs");
    EXPECT_EQ(host_.vcpu_calls, "");
}

TEST_F(ContainerTest, AMachineThatGoesOnFromASnapshotIsSomebodyBeforeItsWorkloadRuns) {
    host_.output = "more\n";
    Encoder state;  // outputs taken so far, and an exec
    state.put(uint64_t{0});
    state.put(uint64_t{0});
    state.put(uint32_t{1});
    state.put(uint32_t{7});
    host_.restored_state = state.take();
    const ExitRecord record = run([](FakeGuest& guest) {
        guest.hello();
        guest.answer(Kind::kIdentity);
        guest.answer(Kind::kSignal);
        guest.answer(Kind::kSuspend);
        guest.answer(Kind::kStart);  // hooks
        guest.send(Kind::kExited, 0, Exited{7, 137, 9, false});
        guest.answer(Kind::kForget);
        guest.send(Kind::kExited, 0, Exited{kWorkloadSession, 4, 0, false});
        guest.answer(Kind::kShutdown);
        guest.send(Kind::kHalted, 0, Shutdown{});
    });
    EXPECT_EQ(started_, "");
    EXPECT_EQ(record.reason, "exited");
    EXPECT_EQ(record.status, 4U);
    EXPECT_NE(record.started_at_ns, 0U);
    EXPECT_EQ(host_.disks_attached, 0);
    EXPECT_NE(log_text().find(R"("log":"more\n")"), std::string::npos) << log_text();
}

TEST_F(ContainerTest, AStateOfNobodysMakingIsRefused) {
    for (const std::string bytes : {"x", "0123456789abcdef\xff\xff\xff\xff"}) {
        host_.restored_state = bytes;
        const ExitRecord record = run([](FakeGuest& guest) { guest.hello(); });
        EXPECT_EQ(record.reason, "vmm-error");
        EXPECT_NE(record.error.find("section container"), std::string::npos) << record.error;
        loop_ = make_event_loop();
    }
}

TEST_F(ContainerTest, AMachineWhoseChangesAreDiscardedEndsWithoutAFlush) {
    config_.root.discard_changes = true;
    const ExitRecord record = run([](FakeGuest& guest) {
        guest.start_workload();
        guest.send(Kind::kExited, 0, Exited{kWorkloadSession, 0, 0, false});
    });
    EXPECT_EQ(record.reason, "exited");
    EXPECT_EQ(record.status, 0U);
}

TEST_F(ContainerTest, AProgramThatIsntThereIs127AndOneThatCantRunIs126) {
    for (const auto& [error, status] : {std::pair{ENOENT, 127U}, {EACCES, 126U}, {EIO, 125U}}) {
        const ExitRecord record = run([error = error](FakeGuest& guest) {
            guest.hello();
            guest.answer(Kind::kRoot);
            guest.answer(Kind::kIdentity);
            guest.answer(Kind::kStart, error, "no");
        });
        EXPECT_EQ(record.reason, "not-started");
        EXPECT_EQ(record.status, status);
        loop_ = make_event_loop();
    }
}

TEST_F(ContainerTest, ARootDiskThatCantBeMountedIsSaid) {
    const ExitRecord record = run([](FakeGuest& guest) {
        guest.hello();
        guest.answer(Kind::kRoot, EIO, "mount: bad superblock");
    });
    EXPECT_EQ(record.status, 125U);
    EXPECT_NE(record.error.find("bad superblock"), std::string::npos) << record.error;
}

TEST_F(ContainerTest, AGuestThatHaltsUnaskedIsLostAndNotASuccess) {
    const ExitRecord record = run([](FakeGuest& guest) {
        guest.start_workload();
        guest.send(Kind::kHalted, 0, Shutdown{});
    });
    EXPECT_EQ(record.reason, "agent-lost");
    EXPECT_EQ(record.status, 125U);
}

TEST_F(ContainerTest, APanicOfTheKernelIsTheReason) {
    const ExitRecord record = run([this](FakeGuest& guest) {
        guest.start_workload();
        loop_->post(
            [this] { container_->machine_stopped("panic", "the guest's kernel panicked"); });
    });
    EXPECT_EQ(record.reason, "panic");
    EXPECT_EQ(record.status, 125U);
}

TEST_F(ContainerTest, ASignalBeforeTheStartEndsWhatNeverRan) {
    const ExitRecord record = run([this](FakeGuest&) {
        loop_->post([this] {
            control::Request request;
            request.op = control::Op::kSignal;
            request.signal = SIGINT;
            container_->handle(std::move(request), [](const control::Reply&) {});
        });
    });
    EXPECT_EQ(started_, "the container has ended");
    EXPECT_EQ(record.reason, "killed");
    EXPECT_EQ(record.status, 130U);
}

TEST_F(ContainerTest, AnExecHasItsOwnSessionStreamsAndExit) {
    host_.output = "from exec\n";
    std::atomic<uint32_t> session = 0;
    std::atomic<uint32_t> status = 0;
    FdPair out = std::move(make_pipe()).value();
    auto write_end = std::make_shared<Fd>(std::move(out.second));
    (void)run([&](FakeGuest& guest) {
        guest.start_workload();
        loop_->post([&, write_end] {
            control::Request request;
            request.op = control::Op::kExec;
            request.start.argv = {"ls"};
            request.stdio.stdout_fd = std::move(*write_end);
            container_->handle(std::move(request), [&](const control::Reply& reply) {
                session = reply.session;
                control::Request wait;
                wait.op = control::Op::kWait;
                wait.session = reply.session;
                container_->handle(std::move(wait), [&](const control::Reply& ended) {
                    status = ended.exit->status;
                    loop_->stop();
                });
            });
        });
        guest.answer(Kind::kStart);
        guest.send(Kind::kExited, 0, Exited{kWorkloadSession + 1, 9, 0, false});
        guest.answer(Kind::kForget);
    });
    EXPECT_EQ(session, kWorkloadSession + 1);
    EXPECT_EQ(status, 9U);
    char text[64];
    const ssize_t n = ::read(out.first.get(), text, sizeof text);
    EXPECT_EQ(std::string(text, static_cast<size_t>(std::max<ssize_t>(n, 0))), "from exec\n");
}

}  // namespace
}  // namespace drupe::testing
