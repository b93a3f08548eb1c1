#include "monitor/container.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <deque>
#include <mutex>
#include <thread>

namespace drupe {
namespace {

using namespace protocol;  // NOLINT: the test speaks it in every line

/// The guest's end, on a thread of its own, with blocking sockets.
class FakeGuest {
  public:
    explicit FakeGuest(Fd control) : control_(std::move(control)) {}

    template <class T>
    void send(Kind kind, uint32_t id, const T& value) {
        const std::string bytes = frame(kind, id, value);
        (void)!::write(control_.get(), bytes.data(), bytes.size());
    }
    void hello() {
        Hello hello;
        hello.kernel_release = "6.12-test";
        send(Kind::kHello, 0, hello);
        (void)next();  // Welcome
    }
    /// The next order; kind 0 at the end of the connection.
    FrameHeader next() {
        for (;;) {
            const Parsed parsed = parse_frame(received_, kMaxOrderBytes);
            if (parsed.state == Parsed::State::kFrame) {
                const FrameHeader header = parsed.header;
                received_.erase(0, parsed.size);
                return header;
            }
            char buffer[4096];
            const ssize_t n = ::read(control_.get(), buffer, sizeof buffer);
            if (n <= 0) return {};
            received_.append(buffer, static_cast<size_t>(n));
        }
    }
    /// Answers the next order; the errno value of failures is the guest's word.
    void answer(Kind expected, int error = 0, const std::string& message = "") {
        const FrameHeader order = next();
        EXPECT_EQ(order.kind, expected);
        send(Kind::kAnswer, order.id, Answer{error, message});
    }
    void start_workload() {
        hello();
        answer(Kind::kRoot);
        answer(Kind::kIdentity);
        answer(Kind::kStart);
    }

  private:
    Fd control_;
    std::string received_;
};

/// Serves one output stream: the bytes, then Eof; reads whatever the host sends.
void serve_stream(Fd socket, const std::string& output) {
    std::string request(kStreamOpenBytes, '\0');
    if (::recv(socket.get(), request.data(), request.size(), MSG_WAITALL) <= 0) return;
    std::string bytes = encode(StreamOpened{});
    if (!output.empty() && static_cast<Stream>(request[4]) == Stream::kStdout)
        append_data(bytes, output);
    append_eof(bytes);
    (void)!::write(socket.get(), bytes.data(), bytes.size());
    char rest[256];
    while (::read(socket.get(), rest, sizeof rest) > 0) {
    }
}

class FakeHost final : public ContainerHost {
  public:
    ~FakeHost() override {
        for (std::thread& thread : threads_) thread.join();
    }
    Result<Fd> connect_guest(uint32_t port) override {
        EXPECT_EQ(port, kStreamPort);
        TRY_ASSIGN(FdPair pair, make_socketpair(SOCK_STREAM));
        TRY(set_nonblocking(pair.first.get(), true));
        threads_.emplace_back([socket = std::make_shared<Fd>(std::move(pair.second)), this] {
            serve_stream(std::move(*socket), output);
        });
        return std::move(pair.first);
    }
    Result<uint64_t> attach_root_disk() override {
        ++disks_attached;
        return uint64_t{4096};
    }
    void release_root_disk(std::function<void(const Status&)> done) override {
        disk_calls += "release ";
        done(release_result);
    }
    void replace_root_disk(control::Disk disk, std::function<void(const Status&)> done) override {
        disk_calls += "replace " + std::to_string(disk.layers.size()) + " ";
        done(ok());
    }
    void pause(std::function<void(const Status&)> done) override {
        vcpu_calls += "pause ";
        done(ok());
    }
    Status resume() override {
        vcpu_calls += "resume ";
        return ok();
    }
    void save(control::Snapshot files, std::string state, SaveSteps steps) override {
        EXPECT_TRUE(files.state.valid() && files.memory.valid());
        saved_state = std::move(state);
        vcpu_calls += "save ";
        steps.on_captured(save_result);
        if (!save_result) return;
        on_written = std::move(steps.on_written);
        if (!writes_on) on_written(ok());
    }
    const std::string& container_state() const override { return restored_state; }
    std::map<std::string, uint64_t> statistics() const override { return {{"exits", 7}}; }
    uint64_t guest_faults() const override { return 2; }
    std::string last_fault() const override { return ""; }
    bool disk_waits_for_room() const override { return true; }

    std::string output;
    int disks_attached = 0;
    std::string disk_calls;
    std::string vcpu_calls;
    Status release_result = ok();
    Status save_result = ok();
    std::string saved_state;
    std::string restored_state;
    std::function<void(const Status&)> on_written;  ///< Of a captured machine.
    bool writes_on = false;                         ///< The test calls it.

  private:
    std::vector<std::thread> threads_;
};

class ContainerTest : public testing::Test {
  protected:
    ContainerTest() {
        std::signal(SIGPIPE, SIG_IGN);
        config_.workload.argv = {"program"};
        log_ = std::move(open_file("/tmp", O_TMPFILE | O_RDWR, 0600)).value();
        config_.timing = true;
    }

    /// Runs a container against a guest that follows the script; returns how it ended.
    ExitRecord run(std::function<void(FakeGuest&)> script) {
        FdPair control = std::move(make_socketpair(SOCK_STREAM)).value();
        EXPECT_TRUE(set_nonblocking(control.first.get(), true));
        config_.log.fds = {
            std::move(log_.duplicate()).value().release()};  // the container's to close
        ExitRecord result;
        container_.emplace(*loop_, config_, host_, timeline_, [&](ExitRecord record) {
            result = std::move(record);
            loop_->stop();
        });
        control::Request started;
        started.op = control::Op::kStarted;
        started_.reset();
        container_->handle(std::move(started),
                           [this](const control::Reply& reply) { started_ = reply.error; });
        EXPECT_TRUE(container_->attach_agent(std::move(control.first)));
        std::thread guest([&, socket = std::make_shared<Fd>(std::move(control.second))] {
            FakeGuest fake(std::move(*socket));
            script(fake);
        });
        const auto limit = loop_->after(std::chrono::seconds(30), [&] { loop_->stop(); });
        loop_->run();
        container_.reset();
        guest.join();
        return result;
    }
    [[nodiscard]] std::string log_text() const {
        std::string text(65536, '\0');
        const ssize_t n = ::pread(log_.get(), text.data(), text.size(), 0);
        text.resize(static_cast<size_t>(std::max<ssize_t>(n, 0)));
        return text;
    }

    Fd log_;
    std::optional<std::string> started_;  // what who asks from the beginning is told
    MonitorConfig config_;
    FakeHost host_;
    Timeline timeline_;
    std::unique_ptr<EventLoop> loop_ = make_event_loop();
    std::optional<Container> container_;
};

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
    EXPECT_NE(log_text().find(R"("log":"hello\n")"), std::string::npos) << log_text();
}

TEST_F(ContainerTest, ATemplateIsSavedOnceTheGuestHasNothingElseToDo) {
    FdPair files = std::move(make_pipe()).value();
    for (const bool saved : {true, false}) {
        host_.save_result = saved ? ok() : Status(Error{ErrorCode::kIo, "no room"});
        config_.save = {std::move(files.first.duplicate()).value().release(),
                        std::move(files.second.duplicate()).value().release()};
        const ExitRecord record = run([](FakeGuest& guest) {
            guest.hello();
            guest.answer(Kind::kPrepare);
            (void)guest.next();  // until the machine is gone
        });
        EXPECT_EQ(record.reason, saved ? "saved" : "vmm-error");
        EXPECT_EQ(record.status, saved ? 0U : 125U);
        EXPECT_EQ(record.error, saved ? "" : "no room");
        loop_ = make_event_loop();
    }
    EXPECT_EQ(host_.vcpu_calls, "save save ");
    EXPECT_EQ(host_.disks_attached, 0);
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

/// Asks the container for its root disk, gives it another one and says what was answered.
class RootDiskTest : public ContainerTest {
  protected:
    void exchange() {
        loop_->post([this] {
            request(control::Op::kReleaseDisk, [this](const control::Reply& released) {
                EXPECT_EQ(released.error, "");
                released_ = released;
                status_ = status();
                request(control::Op::kReplaceDisk, [this](const control::Reply& replaced) {
                    replaced_ = replaced;
                    loop_->stop();
                });
            });
        });
    }
    void request(control::Op op, const std::function<void(const control::Reply&)>& answer) {
        control::Request request;
        request.op = op;
        request.disk.layers.resize(2);
        request.freeze = freeze_;
        container_->handle(std::move(request), answer);
    }
    control::MachineStatus status() {
        control::MachineStatus machine;
        request(control::Op::kStatus,
                [&](const control::Reply& reply) { machine = *reply.machine; });
        return machine;
    }
    bool freeze_ = true;
    control::Reply released_;
    control::Reply replaced_;
    control::MachineStatus status_;
};

TEST_F(RootDiskTest, IsExchangedWhileTheGuestsFileSystemIsFrozen) {
    (void)run([this](FakeGuest& guest) {
        guest.start_workload();
        exchange();
        guest.answer(Kind::kFreeze);
        guest.answer(Kind::kThaw);
    });
    EXPECT_EQ(host_.disk_calls, "release replace 2 ");
    EXPECT_TRUE(released_.consistent);
    EXPECT_TRUE(replaced_.consistent);
    EXPECT_TRUE(status_.disk_released);
    EXPECT_TRUE(status_.disk_waits_for_room);
}

TEST_F(RootDiskTest, OfAGuestThatCantFreezeIsInconsistent) {
    (void)run([this](FakeGuest& guest) {
        guest.start_workload();
        exchange();
        guest.answer(Kind::kFreeze, EOPNOTSUPP, "no");
    });
    EXPECT_EQ(host_.disk_calls, "release replace 2 ");
    EXPECT_FALSE(released_.consistent);
    EXPECT_EQ(replaced_.error, "");
    EXPECT_FALSE(replaced_.consistent);
}

TEST_F(RootDiskTest, IsExchangedWithoutAWordToTheGuestIfNothingIsToBeFrozen) {
    freeze_ = false;
    (void)run([this](FakeGuest& guest) {
        guest.start_workload();
        exchange();
    });
    EXPECT_EQ(host_.disk_calls, "release replace 2 ");
    EXPECT_FALSE(released_.consistent);
    EXPECT_EQ(replaced_.error, "");
    EXPECT_FALSE(replaced_.consistent);
}

/// A snapshot, and the disk back.
class SnapshotTest : public RootDiskTest {
  protected:
    void take() {
        loop_->post([this] {
            control::Request request;
            request.op = control::Op::kSnapshot;
            request.snapshot = {std::move(log_.duplicate()).value(),
                                std::move(log_.duplicate()).value()};
            container_->handle(std::move(request), [this](const control::Reply& saved) {
                released_ = saved;
                status_ = status();
                if (!status_.disk_released) return loop_->stop();
                request_disk();
            });
        });
    }
    void request_disk() {
        RootDiskTest::request(control::Op::kReplaceDisk, [this](const control::Reply& replaced) {
            replaced_ = replaced;
            if (on_replaced_) on_replaced_();
            loop_->stop();
        });
    }

    std::function<void()> on_replaced_;  ///< On the loop, before its end.
};

TEST_F(SnapshotTest, StopsTheWorkloadThenTheMachineThenItsDisk) {
    (void)run([this](FakeGuest& guest) {
        guest.start_workload();
        take();
        guest.answer(Kind::kSuspend);
        guest.answer(Kind::kSuspend);
    });
    EXPECT_EQ(released_.error, "");
    EXPECT_EQ(replaced_.error, "");
    EXPECT_EQ(host_.vcpu_calls, "pause save resume ");
    EXPECT_EQ(host_.disk_calls, "release replace 2 ");
    EXPECT_EQ(host_.saved_state.size(), 20U);
    EXPECT_TRUE(status_.disk_released);
}

TEST_F(SnapshotTest, WhoWaitsForItsFilesIsToldAndAnotherOneIsRefusedUntilThen) {
    host_.writes_on = true;
    std::string told;
    const auto ask = [&] {
        request(control::Op::kSaved,
                [&](const control::Reply& reply) { told += reply.error + "."; });
    };
    on_replaced_ = [&] {
        ask();
        request(control::Op::kSnapshot,
                [&](const control::Reply& reply) { told += reply.error.substr(0, 16) + "!"; });
        host_.on_written(Error{ErrorCode::kIo, "no room"});
        ask();
    };
    (void)run([&](FakeGuest& guest) {
        guest.start_workload();
        loop_->post(ask);
        take();
        guest.answer(Kind::kSuspend);
        guest.answer(Kind::kSuspend);
    });
    EXPECT_EQ(told, "no snapshot was taken.another snapshot!no room.no room.");
}

TEST_F(SnapshotTest, AGuestThatCantStopItsWorkloadIsntStopped) {
    (void)run([this](FakeGuest& guest) {
        guest.start_workload();
        take();
        guest.answer(Kind::kSuspend, EBUSY, "some don't stand still");
    });
    EXPECT_NE(released_.error.find("stand still"), std::string::npos) << released_.error;
    EXPECT_EQ(released_.os_error, EBUSY);
    EXPECT_EQ(host_.vcpu_calls, "");
    EXPECT_FALSE(status_.disk_released);
    EXPECT_FALSE(status_.disk_moves);
}

TEST_F(SnapshotTest, ADiskThatCantBeReleasedLetsTheMachineGoOn) {
    host_.release_result = Error{ErrorCode::kIo, "no room"};
    (void)run([this](FakeGuest& guest) {
        guest.start_workload();
        take();
        guest.answer(Kind::kSuspend);
        guest.answer(Kind::kSuspend);
    });
    EXPECT_EQ(released_.error, "no room");
    EXPECT_EQ(host_.vcpu_calls, "pause resume ");
}

TEST_F(SnapshotTest, AFailedSaveLeavesTheDiskToBeGivenBack) {
    host_.save_result = Error{ErrorCode::kIo, "no room"};
    (void)run([this](FakeGuest& guest) {
        guest.start_workload();
        take();
        guest.answer(Kind::kSuspend);
        guest.answer(Kind::kSuspend);
    });
    EXPECT_EQ(released_.error, "no room");
    EXPECT_EQ(replaced_.error, "");
    EXPECT_EQ(host_.vcpu_calls, "pause save resume ");
}

TEST_F(RootDiskTest, OfAGuestThatThawedByItselfIsInconsistent) {
    (void)run([this](FakeGuest& guest) {
        guest.start_workload();
        exchange();
        guest.answer(Kind::kFreeze);
        guest.answer(Kind::kThaw, ETIME, "too late");
    });
    EXPECT_TRUE(released_.consistent);
    EXPECT_FALSE(replaced_.consistent);
}

TEST_F(RootDiskTest, ThatCantBeClosedStaysAndTheGuestGoesOn) {
    host_.release_result = Error{ErrorCode::kIo, "no space"};
    control::Reply reply;
    (void)run([&](FakeGuest& guest) {
        guest.start_workload();
        loop_->post([&] {
            request(control::Op::kReleaseDisk, [&](const control::Reply& released) {
                reply = released;
                loop_->stop();
            });
        });
        guest.answer(Kind::kFreeze);
        guest.answer(Kind::kThaw);
    });
    EXPECT_EQ(reply.error, "no space");
    EXPECT_EQ(host_.disk_calls, "release ");
}

TEST_F(RootDiskTest, IsNeitherReleasedTwiceNorReplacedUnasked) {
    control::Reply unasked;
    control::Reply twice;
    (void)run([&](FakeGuest& guest) {
        guest.start_workload();
        loop_->post([&] {
            request(control::Op::kReplaceDisk, [&](const control::Reply& r) { unasked = r; });
            request(control::Op::kReleaseDisk, [&](const control::Reply&) { loop_->stop(); });
            request(control::Op::kReleaseDisk, [&](const control::Reply& r) { twice = r; });
        });
        guest.answer(Kind::kFreeze);
    });
    EXPECT_NE(unasked.error, "");
    EXPECT_NE(twice.error, "");
}

class PauseTest : public RootDiskTest {
  protected:
    /// Runs until the workload has started, then does work on the loop.
    ExitRecord with_running(const std::function<void()>& work,
                            const std::function<void(FakeGuest&)>& rest = {}) {
        return run([&](FakeGuest& guest) {
            guest.start_workload();
            loop_->post([&] {
                request(control::Op::kStatus, [](const control::Reply&) {});
                work();
            });
            if (rest) rest(guest);
        });
    }
    control::Reply reply_;
};

TEST_F(PauseTest, AMachinePausesOnceAndRefusesExecsAndFreezes) {
    control::Reply again;
    control::Reply exec;
    control::Reply freeze;
    control::Reply status;
    (void)with_running([&] {
        request(control::Op::kPause, [&](const control::Reply& r) { reply_ = r; });
        request(control::Op::kPause, [&](const control::Reply& r) { again = r; });
        request(control::Op::kExec, [&](const control::Reply& r) { exec = r; });
        request(control::Op::kReleaseDisk, [&](const control::Reply& r) { freeze = r; });
        request(control::Op::kStatus, [&](const control::Reply& r) { status = r; });
        loop_->stop();
    });
    EXPECT_EQ(reply_.error, "");
    EXPECT_EQ(again.os_error, EALREADY);
    EXPECT_NE(exec.error.find("paused"), std::string::npos) << exec.error;
    EXPECT_NE(freeze.error.find("paused"), std::string::npos) << freeze.error;
    ASSERT_TRUE(status.machine);
    EXPECT_TRUE(status.machine->paused);
    EXPECT_EQ(host_.vcpu_calls, "pause ");
}

TEST_F(PauseTest, AResumedOneGoesOnAndCantBeResumedTwice) {
    control::Reply twice;
    (void)with_running([&] {
        request(control::Op::kPause, [](const control::Reply&) {});
        request(control::Op::kResume, [&](const control::Reply& r) { reply_ = r; });
        request(control::Op::kResume, [&](const control::Reply& r) { twice = r; });
        loop_->stop();
    });
    EXPECT_EQ(reply_.error, "");
    EXPECT_EQ(twice.os_error, EALREADY);
    EXPECT_EQ(host_.vcpu_calls, "pause resume ");
}

TEST_F(PauseTest, ASignalResumesFirst) {
    (void)with_running(
        [&] {
            request(control::Op::kPause, [](const control::Reply&) {});
            control::Request signal;
            signal.op = control::Op::kSignal;
            signal.signal = SIGTERM;
            container_->handle(std::move(signal), ControlServer::Answer(
                                                      [&](const control::Reply& r) {
                                                          reply_ = r;
                                                          loop_->stop();
                                                      },
                                                      std::make_shared<char>()));
        },
        [](FakeGuest& guest) { guest.answer(Kind::kSignal); });
    EXPECT_EQ(reply_.error, "");
    EXPECT_EQ(host_.vcpu_calls, "pause resume ");
}

TEST_F(PauseTest, AWorkloadThatEndedJustBeforeLetsTheMachineGoOnToItsEnd) {
    const ExitRecord record =
        with_running([&] { request(control::Op::kPause, [](const control::Reply&) {}); },
                     [](FakeGuest& guest) {
                         guest.send(Kind::kExited, 0, Exited{kWorkloadSession, 3, 0, false});
                         guest.answer(Kind::kShutdown);
                         guest.send(Kind::kHalted, 0, Shutdown{});
                     });
    EXPECT_EQ(record.reason, "exited");
    EXPECT_EQ(record.status, 3U);
}

}  // namespace
}  // namespace drupe
