// A machine that stands still.

#include "monitor/testing/container_fixture.h"

namespace drupe::testing {
namespace {

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
}  // namespace drupe::testing
