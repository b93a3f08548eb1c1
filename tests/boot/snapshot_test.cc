// Running machines that are kept, and gone back to, by a real kernel.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "tests/boot/running.h"

namespace drupe::testing {
namespace {

using std::chrono::seconds;
using Strings = std::vector<std::string>;

constexpr const char* kCounts = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done";
constexpr const char* kIdles = "while :; do sleep 1000 & wait; done";

/// Docker's own client, on the daemon of this $DRUPE_ROOT.
Outcome docker(const Strings& words) {
    const char* root = std::getenv("DRUPE_ROOT");
    const std::string socket =
        root == nullptr ? "/run/drupe/drupe.sock" : std::string(root) + "/run/drupe.sock";
    Strings argv{"docker", "-H", "unix://" + socket};
    argv.insert(argv.end(), words.begin(), words.end());
    Process process(argv, Process::Io::kPipes);
    return process.finish(seconds(120));
}

void succeeds(const Outcome& outcome) {
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
}

TEST(SnapshotTest, ARollbackBringsBackMemoryAndDisk) {
    Parent counter(kCounts);
    const std::string& id = counter.id();
    ASSERT_GE(await_log(id, 3).size(), 3U);
    in(id, "echo base > /file; echo base > /dev/shm/file");
    const int heard = restores_heard(id);
    EXPECT_EQ(drupe({"snapshot", "create", id, "ready"}).out, "ready\n");
    const size_t kept_at = await_log(id, 3).size();
    in(id, "echo later | tee /file > /dev/shm/file; touch /new; sync");
    ASSERT_GE(await_log(id, kept_at + 10).size(), kept_at + 10);

    for (int round = 0; round < 2; ++round) {
        succeeds(drupe({"rollback", id, "ready"}));
        EXPECT_EQ(in(id, "cat /file /dev/shm/file; ls /new 2> /dev/null || true"), "base\nbase\n");
        const std::string now = in(id, "date +%s");
        EXPECT_NEAR(std::stod(now), static_cast<double>(std::time(nullptr)), 10);
        EXPECT_EQ(restores_heard(id), heard + 1);
        in(id, "rm /file");
    }
    // Its log goes on, from where it was then.
    const Strings lines = await_log(id, kept_at + 12);
    const auto back = std::adjacent_find(
        lines.begin(), lines.end(),
        [](const auto& a, const auto& b) { return std::stoi(b) != std::stoi(a) + 1; });
    ASSERT_NE(back, lines.end());
    EXPECT_LT(std::stoi(*(back + 1)), std::stoi(*back));
    EXPECT_GT(std::stoi(*(back + 1)), 3) << "it started anew";

    // A start without it boots from what is on the disk.
    succeeds(drupe({"restart", "-t", "0", id}));
    EXPECT_EQ(drupe({"exec", id, "test", "-e", "/file"}).exit_code, 1);
    EXPECT_EQ(drupe({"snapshot", "ls", "-q", id}).out, "ready\n");
    succeeds(drupe({"snapshot", "rm", id, "ready"}));
    EXPECT_EQ(drupe({"snapshot", "ls", "-q", id}).out, "");
    const Outcome gone = drupe({"rollback", id, "ready"});
    EXPECT_NE(gone.exit_code, 0);
    EXPECT_NE(gone.err.find("no snapshot ready"), std::string::npos) << gone.err;
    EXPECT_EQ(trim(drupe({"inspect", "-f", "{{.State.Running}}", id}).out), "true");
}

TEST(SnapshotTest, NewContainersGoOnFromIt) {
    Strings made;
    {
        Parent parent(kIdles);
        in(parent.id(), "echo base | tee /file > /dev/shm/file");
        succeeds(drupe({"snapshot", "create", parent.id(), "ready"}));
        in(parent.id(), "rm /file");
        for (int i = 0; i < 2; ++i) {
            const Outcome run = drupe({"run", "-d", "--from-snapshot", parent.id() + ":ready"});
            ASSERT_EQ(run.exit_code, 0) << run.err;
            made.push_back(trim(run.out));
            EXPECT_EQ(in(made.back(), "cat /file /dev/shm/file; echo mine > /file"),
                      "base\nbase\n");
            EXPECT_EQ(trim(in(made.back(), "hostname")), made.back().substr(0, 12));
        }
        const Outcome refused =
            drupe({"run", "-e", "A=b", "--from-snapshot", parent.id() + ":ready"});
        EXPECT_NE(refused.exit_code, 0);
        EXPECT_NE(refused.err.find("environment variables"), std::string::npos) << refused.err;
    }
    // Its parent is gone, and its snapshots with it.
    EXPECT_EQ(in(made[0], "cat /file"), "mine\n");
    EXPECT_EQ(in(made[1], "cat /dev/shm/file"), "base\n");
    for (const std::string& id : made) succeeds(drupe({"rm", "-f", id}));
}

TEST(SnapshotTest, ACopyOfOneThatGoesKeepsWhatItWrites) {
    Parent parent(kIdles, {"--rm"});
    succeeds(drupe({"snapshot", "create", parent.id(), "ready"}));
    const Outcome refused = drupe({"rollback", parent.id(), "ready"});
    EXPECT_NE(refused.err.find("--rm"), std::string::npos) << refused.err;
    succeeds(drupe({"run", "-d", "--name", "kept", "--from-snapshot", parent.id() + ":ready"}));
    in("kept", "echo kept > /file");
    succeeds(drupe({"stop", "-t", "1", "kept"}));
    succeeds(drupe({"start", "kept"}));
    EXPECT_EQ(in("kept", "cat /file"), "kept\n");
    succeeds(drupe({"rm", "-f", "kept"}));
}

// Its disk isn't the one that the memory knew any more.
TEST(SnapshotTest, OneThatWasCopiedIntoBeforeItsStartCantGoOn) {
    Parent parent(kIdles);
    succeeds(drupe({"snapshot", "create", parent.id(), "ready"}));
    succeeds(drupe({"create", "--name", "copied", "--from-snapshot", parent.id() + ":ready"}));
    succeeds(drupe({"cp", "/etc/hostname", "copied:/copied"}));
    const Outcome refused = drupe({"start", "copied"});
    EXPECT_NE(refused.exit_code, 0);
    EXPECT_NE(refused.err.find("copy into it once it runs"), std::string::npos) << refused.err;
    succeeds(drupe({"rm", "copied"}));
}

// What it says last is what it knew when its checkpoint was taken: the next word comes from that.
TEST(SnapshotTest, OneThatItsCheckpointEndsDoesntGoOnBefore) {
    Parent counter(kCounts);
    const std::string& id = counter.id();
    ASSERT_GE(await_log(id, 3).size(), 3U);
    in(id,
       "dd if=/dev/urandom of=/dev/shm/file bs=1M count=20 2> /dev/null");  // takes time to write
    succeeds(docker({"checkpoint", "create", id, "ready"}));
    const size_t said = await_log(id, 3).size();
    succeeds(docker({"start", "--checkpoint", "ready", id}));
    const Strings lines = await_log(id, said + 3);
    ASSERT_GE(lines.size(), said + 3);
    for (size_t i = 0; i < lines.size(); ++i) EXPECT_EQ(lines[i], std::to_string(i + 1));

    in(id, "echo written > /file");  // and not yet on its disk
    succeeds(docker({"checkpoint", "create", id, "written"}));
    succeeds(docker({"start", id}));
    EXPECT_EQ(in(id, "cat /file"), "written\n") << "a start without the checkpoint";
}

TEST(SnapshotTest, DockersClientCallsThemCheckpoints) {
    Parent parent(kIdles);
    const std::string& id = parent.id();
    in(id, "echo base > /dev/shm/file");
    const Outcome left = docker({"checkpoint", "create", "--leave-running", id, "one"});
    ASSERT_EQ(left.exit_code, 0) << left.err;
    EXPECT_EQ(left.out, "one\n");
    in(id, "echo more >> /dev/shm/file");
    succeeds(docker({"checkpoint", "create", id, "two"}));
    EXPECT_EQ(trim(docker({"inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", id}).out),
              "exited 137");
    EXPECT_EQ(docker({"checkpoint", "ls", id}).out, "CHECKPOINT NAME\none\ntwo\n");
    succeeds(docker({"start", "--checkpoint", "two", id}));
    EXPECT_EQ(in(id, "cat /dev/shm/file"), "base\nmore\n");
    succeeds(docker({"kill", id}));
    succeeds(docker({"start", "--checkpoint", "one", id}));
    EXPECT_EQ(in(id, "cat /dev/shm/file"), "base\n");
    const Outcome taken = docker({"checkpoint", "create", id, "one"});
    EXPECT_NE(taken.err.find("checkpoint with name one already exists"), std::string::npos)
        << taken.err;
    succeeds(docker({"checkpoint", "rm", id, "one"}));
    EXPECT_EQ(docker({"checkpoint", "ls", id}).out, "CHECKPOINT NAME\ntwo\n");
}

}  // namespace
}  // namespace drupe::testing
