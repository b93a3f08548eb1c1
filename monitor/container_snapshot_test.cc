// Snapshots of a machine that runs.

#include "monitor/testing/container_fixture.h"

namespace drupe::testing {
namespace {

/// A snapshot, and the disk back.
class SnapshotTest : public RootDiskTest {
  protected:
    control::Request snapshot_request() {
        control::Request request;
        request.op = control::Op::kSnapshot;
        request.flush = flush_;
        request.snapshot = {std::move(log_.duplicate()).value(),
                            std::move(log_.duplicate()).value()};
        return request;
    }
    void take() {
        loop_->post([this] {
            container_->handle(snapshot_request(), [this](const control::Reply& saved) {
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

    /// take(), of a container whose guest does what it is told.
    void take_of_a_willing_guest() {
        (void)run([this](FakeGuest& guest) {
            guest.start_workload();
            take();
            guest.answer(Kind::kSuspend);
            guest.answer(Kind::kSuspend);
        });
    }

    bool flush_ = false;
    std::function<void()> on_replaced_;  ///< On the loop, before its end.
};

TEST_F(SnapshotTest, StopsTheWorkloadThenTheMachineThenItsDisk) {
    take_of_a_willing_guest();
    EXPECT_EQ(released_.error, "");
    EXPECT_EQ(replaced_.error, "");
    EXPECT_EQ(host_.vcpu_calls, "pause save resume ");
    EXPECT_EQ(host_.disk_calls, "release replace 2 ");
    EXPECT_EQ(host_.saved_state.size(), 20U);
    EXPECT_TRUE(status_.disk_released);
}

TEST_F(SnapshotTest, WhoUsesTheDiskAloneHasTheGuestWriteItOutFirst) {
    flush_ = true;
    (void)run([this](FakeGuest& guest) {
        guest.start_workload();
        take();
        guest.answer(Kind::kSuspend);
        guest.answer(Kind::kFreeze);
        guest.answer(Kind::kThaw);
        guest.answer(Kind::kSuspend);
    });
    EXPECT_EQ(released_.error, "");
    EXPECT_EQ(host_.vcpu_calls, "pause save resume ");
    EXPECT_EQ(host_.disk_calls, "release replace 2 ");
}

TEST_F(SnapshotTest, AGuestThatCantWriteItsDiskOutIsSavedAllTheSame) {
    flush_ = true;
    (void)run([this](FakeGuest& guest) {
        guest.start_workload();
        take();
        guest.answer(Kind::kSuspend);
        guest.answer(Kind::kFreeze, EIO, "no");
        guest.answer(Kind::kSuspend);
    });
    EXPECT_EQ(released_.error, "");
    EXPECT_EQ(host_.vcpu_calls, "pause save resume ");
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

TEST_F(SnapshotTest, OneThatStandsStillUntilItIsWrittenIsWrittenAtOnce) {
    host_.writes_on = true;
    (void)run([this](FakeGuest& guest) {
        guest.start_workload();
        loop_->post([this] {
            container_->handle(snapshot_request(), [this](const control::Reply& saved) {
                released_ = saved;
                request(control::Op::kSaved, [this](const control::Reply& written) {
                    EXPECT_EQ(written.error, "");
                    status_ = status();
                    loop_->stop();
                });
                loop_->post([this] { host_.on_written(ok()); });
            });
        });
        guest.answer(Kind::kSuspend);
    });
    EXPECT_EQ(released_.error, "");
    EXPECT_TRUE(status_.disk_released);
    EXPECT_EQ(host_.vcpu_calls, "pause save write ");
}

TEST_F(SnapshotTest, AWorkloadThatEndsBeforeItStandsStillIsNotSaved) {
    (void)run([this](FakeGuest& guest) {
        guest.start_workload();
        take();
        const FrameHeader suspend = guest.next();
        guest.send(Kind::kExited, 0, Exited{kWorkloadSession, 3, 0, false});
        guest.send(Kind::kAnswer, suspend.id, Answer{});
        bool goes_on = false;
        for (FrameHeader order = guest.next(); order.kind != FrameHeader{}.kind;
             order = guest.next())
            goes_on = goes_on || order.kind == Kind::kSuspend;
        EXPECT_TRUE(goes_on);
    });
    EXPECT_EQ(released_.os_error, ESRCH) << released_.error;
    EXPECT_EQ(host_.vcpu_calls, "");
    EXPECT_FALSE(status_.disk_released);
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
    take_of_a_willing_guest();
    EXPECT_EQ(released_.error, "no room");
    EXPECT_EQ(host_.vcpu_calls, "pause resume ");
}

TEST_F(SnapshotTest, AFailedSaveLeavesTheDiskToBeGivenBack) {
    host_.save_result = Error{ErrorCode::kIo, "no room"};
    take_of_a_willing_guest();
    EXPECT_EQ(released_.error, "no room");
    EXPECT_EQ(replaced_.error, "");
    EXPECT_EQ(host_.vcpu_calls, "pause save resume ");
}

}  // namespace
}  // namespace drupe::testing
