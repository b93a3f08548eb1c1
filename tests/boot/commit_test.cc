// Images of what containers changed.

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "tests/boot/running.h"

namespace drupe::testing {
namespace {

using std::chrono::seconds;

class CommitTest : public ::testing::Test {
  protected:
    ~CommitTest() override {
        for (const std::string& image : images_) (void)drupe({"rmi", "-f", image});
    }
    /// Commits, and says which warnings there were.
    std::string commit(const std::string& container, const std::string& image,
                       std::vector<std::string> options = {}) {
        options.insert(options.begin(), "commit");
        options.insert(options.end(), {container, image});
        const Outcome outcome = drupe(options);
        EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
        EXPECT_TRUE(outcome.out.starts_with("sha256:")) << outcome.out;
        images_.push_back(image);
        return outcome.err;
    }
    static std::string output(const std::vector<std::string>& arguments) {
        const Outcome outcome = drupe(arguments);
        EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
        return trim(outcome.out);
    }
    /// What commits have sealed is packed in the background.
    static bool gets_packed() {
        const auto limit = std::chrono::steady_clock::now() + seconds(60);
        while (std::chrono::steady_clock::now() < limit) {
            if (output({"system", "verify"}).find(" 0 not packed yet, 0 damaged") !=
                std::string::npos) {
                return true;
            }
            std::this_thread::sleep_for(seconds(1));
        }
        return false;
    }
    static void exec(const std::string& container, const std::string& script) {
        (void)output({"exec", container, "sh", "-c", script});
    }

  private:
    std::vector<std::string> images_;
};

TEST_F(CommitTest, WhatARunningContainerChangedIsInTheImageAndItGoesOn) {
    const Running machine;
    exec(machine.id(), "echo one > /one; rm /etc/group; mkdir /d; ln /one /d/two; chmod 700 /d");
    EXPECT_EQ(commit(machine.id(), "commit-a"), "");
    exec(machine.id(), "echo later > /one; test ! -e /etc/group");
    EXPECT_EQ(commit(machine.id(), "commit-b"), "");

    const std::vector<std::string> look{"sh", "-c", "cat /d/two; ls -d /etc/group; stat -c %a /d"};
    const auto in_image = [&](const std::string& image) {
        std::vector<std::string> arguments{"run", "--rm", image};
        arguments.insert(arguments.end(), look.begin(), look.end());
        return output(arguments);
    };
    EXPECT_EQ(in_image("commit-a"), "one\n700");
    EXPECT_EQ(in_image("commit-b"), "later\n700");
    EXPECT_EQ(output({"exec", machine.id(), "cat", "/d/two"}), "later");
    EXPECT_TRUE(gets_packed()) << output({"system", "verify"});
    EXPECT_EQ(in_image("commit-b"), "later\n700");
    EXPECT_EQ(output({"exec", machine.id(), "cat", "/d/two"}), "later");
}

TEST_F(CommitTest, AContainerThatWritesAllTheTimeIsCommittedWhole) {
    const Running machine;
    exec(machine.id(),
         "(while :; do echo $i > /a; cp /bin/busybox /b; i=$((i+1)); done) > /dev/null 2>&1 &");
    for (int i = 0; i < repetitions(3, 30); ++i) {
        EXPECT_EQ(commit(machine.id(), "commit-busy"), "");
    }
    EXPECT_EQ(output({"run", "--rm", "commit-busy", "sh", "-c", "test -e /a && echo $?"}), "0");
    exec(machine.id(), "echo > /still-writable");
}

TEST_F(CommitTest, WithoutAPauseTheImageIsAsAfterALossOfPower) {
    const Running machine;
    exec(machine.id(), "echo kept > /kept; sync");
    exec(machine.id(), "(while :; do cp /bin/busybox /b; done) > /dev/null 2>&1 &");
    EXPECT_EQ(commit(machine.id(), "commit-on-the-fly", {"--pause=false"}), "");
    EXPECT_EQ(output({"run", "--rm", "commit-on-the-fly", "cat", "/kept"}), "kept");
    exec(machine.id(), "echo > /still-writable");
}

TEST_F(CommitTest, AStoppedContainersImageHasTheChangesThatWereAsked) {
    EXPECT_EQ(drupe({"run", "--name", "made", "busybox", "sh", "-c", "echo hi > /hi"}).exit_code,
              0);
    EXPECT_EQ(commit("made", "commit-stopped", {"-c", "CMD [\"cat\", \"/hi\"]", "-m", "why"}), "");
    EXPECT_EQ(output({"run", "--rm", "commit-stopped"}), "hi");
    EXPECT_EQ(output({"start", "-a", "made"}), "");  // it still has a disk
    EXPECT_EQ(drupe({"rm", "made"}).exit_code, 0);
}

TEST_F(CommitTest, AContainerThatWasKilledIsCommittedAsAfterALossOfPower) {
    ASSERT_EQ(drupe({"run", "-d", "--name", "killed", "busybox", "sleep", "1000"}).exit_code, 0);
    exec("killed", "echo kept > /kept; sync");
    EXPECT_EQ(drupe({"kill", "killed"}).exit_code, 0);
    (void)drupe({"wait", "killed"});
    (void)commit("killed", "commit-killed");
    EXPECT_EQ(output({"run", "--rm", "commit-killed", "cat", "/kept"}), "kept");
    EXPECT_EQ(drupe({"rm", "killed"}).exit_code, 0);
}

}  // namespace
}  // namespace drupe::testing
