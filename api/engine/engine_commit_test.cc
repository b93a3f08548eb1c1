// Commits of running, stopped and stuck machines.

#include "api/engine/testing/engine_fixture.h"

namespace drupe::engine {
namespace {

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

}  // namespace
}  // namespace drupe::engine
