// A root disk that is taken out of a machine that runs, and put back.

#include "monitor/testing/container_fixture.h"

namespace drupe::testing {
namespace {

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

}  // namespace
}  // namespace drupe::testing
