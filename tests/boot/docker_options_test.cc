// Docker's options and commands whose effect only a real guest shows.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "tests/boot/running.h"

namespace drupe::testing {
namespace {

using std::chrono::seconds;

/// Output of a container of busybox's with these options.
std::string output_of(std::vector<std::string> options, const std::string& script) {
    std::vector<std::string> arguments{"run", "--rm"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    arguments.insert(arguments.end(), {"busybox", "sh", "-c", script});
    const Outcome outcome = drupe(arguments);
    return outcome.out + outcome.err;
}

/// A container that counts, ten times a second, until it is told to end.
class CountingTest : public ::testing::Test {
  protected:
    void SetUp() override {
        const std::string script =
            "trap 'echo bye; exit 5' TERM; i=0; while :; do i=$((i+1)); "
            "echo $i > /count; sleep 0.1; done";
        const Outcome run = drupe({"run", "-d", "--name", "counter", "-m", "200m", "--cpus", "1",
                                   "busybox", "sh", "-c", script});
        ASSERT_EQ(run.exit_code, 0) << run.err;
        // The file is empty while it is written.
        int counted = 0;
        for (int i = 0; i < 100 && counted == 0; ++i) {
            ::usleep(100'000);
            counted = count();
        }
        ASSERT_GT(counted, 0);
    }
    void TearDown() override { (void)drupe({"rm", "-f", "counter"}); }
    static int count() {
        return std::atoi(drupe({"exec", "counter", "cat", "/count"}).out.c_str());
    }
    static std::string state() {
        return drupe({"inspect", "--format", "{{.State.Status}}", "counter"}).out;
    }
};

TEST_F(CountingTest, APausedContainerDoesNothingUntilItIsUnpaused) {
    ASSERT_EQ(drupe({"pause", "counter"}).exit_code, 0);
    EXPECT_EQ(state(), "paused\n");
    const Outcome twice = drupe({"pause", "counter"});
    EXPECT_EQ(twice.exit_code, 1);
    EXPECT_NE(twice.err.find("is already paused"), std::string::npos) << twice.err;
    EXPECT_NE(drupe({"exec", "counter", "true"}).err.find("is paused"), std::string::npos);
    ::sleep(5);
    ASSERT_EQ(drupe({"unpause", "counter"}).exit_code, 0);
    const int after = count();
    EXPECT_LT(after, 60) << "it went on while it was paused";
    ::sleep(2);
    EXPECT_GT(count(), after) << "it stands still";
    EXPECT_NE(drupe({"unpause", "counter"}).err.find("is not paused"), std::string::npos);
}

TEST_F(CountingTest, APausedContainerIsStoppedByItsOwnHandler) {
    ASSERT_EQ(drupe({"pause", "counter"}).exit_code, 0);
    ASSERT_EQ(drupe({"stop", "counter"}).exit_code, 0);
    EXPECT_EQ(drupe({"inspect", "--format", "{{.State.ExitCode}}", "counter"}).out, "5\n");
    EXPECT_NE(drupe({"logs", "counter"}).out.find("bye"), std::string::npos);
}

TEST_F(CountingTest, APausedContainerIsKilled) {
    ASSERT_EQ(drupe({"pause", "counter"}).exit_code, 0);
    ASSERT_EQ(drupe({"kill", "counter"}).exit_code, 0);
    EXPECT_EQ(drupe({"inspect", "--format", "{{.State.ExitCode}}", "counter"}).out, "137\n");
}

TEST_F(CountingTest, LimitsAndNamesChangeWhileItRuns) {
    ASSERT_EQ(drupe({"update", "-m", "100m", "--pids-limit", "7", "--cpus", "0.5", "counter"}).err,
              "");
    EXPECT_EQ(drupe({"exec", "counter", "sh", "-c",
                     "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max"})
                  .out,
              "104857600\n7\n");
    EXPECT_NE(drupe({"update", "-m", "4g", "counter"}).err.find("--memory 4096m needs a machine"),
              std::string::npos);
    ASSERT_EQ(drupe({"rename", "counter", "renamed"}).exit_code, 0);
    EXPECT_EQ(drupe({"exec", "renamed", "echo", "here"}).out, "here\n");
    EXPECT_EQ(drupe({"rename", "renamed", "counter"}).exit_code, 0);
}

TEST_F(CountingTest, ItsProcessesAreShown) {
    const Outcome top = drupe({"top", "counter"});
    EXPECT_EQ(top.out.substr(0, 3), "UID") << top.err;
    EXPECT_NE(top.out.find("CMD"), std::string::npos) << top.out;
    EXPECT_NE(top.out.find("root"), std::string::npos) << top.out;
    EXPECT_NE(top.out.find("sleep 0.1"), std::string::npos) << top.out;
    const Outcome chosen = drupe({"top", "counter", "-o", "pid,comm,stat"});
    const std::string first =
        chosen.out.substr(0, chosen.out.find('\n', chosen.out.find('\n') + 1));
    EXPECT_TRUE(first == "PID   COMMAND   STAT\n1     sh        Ss" ||
                first == "PID   COMMAND   STAT\n1     sh        Rs")
        << chosen.out << chosen.err;
    EXPECT_NE(drupe({"top", "counter", "-o", "wchan"}).err.find("wchan"), std::string::npos);
}

TEST(CapabilitiesTest, AreDockersUnlessTheyAreAddedOrDropped) {
    const std::string show = "grep CapEff /proc/self/status | cut -f2";
    EXPECT_EQ(output_of({}, show), "00000000a80425fb\n");
    EXPECT_EQ(output_of({"--cap-drop", "ALL", "--cap-add", "kill"}, show), "0000000000000020\n");
    EXPECT_EQ(output_of({"--user", "1000"}, show), "0000000000000000\n");
    EXPECT_NE(output_of({}, "mount -t tmpfs x /mnt || echo refused").find("refused"),
              std::string::npos);
    EXPECT_EQ(output_of({"--privileged"}, "mkdir /m && mount -t tmpfs x /m && echo mounted"),
              "mounted\n");
    EXPECT_NE(output_of({"--cap-add", "FLY"}, "true").find("unknown capability: \"FLY\""),
              std::string::npos);
}

TEST(MountsTest, TmpfsAndSharedMemoryHaveTheirSizesAndOptions) {
    const std::string text = output_of(
        {"--shm-size", "3m", "--tmpfs", "/scratch:size=128k,mode=700", "--tmpfs", "/run"},
        "grep -E '/dev/shm|/scratch|/run' /proc/mounts; dd if=/dev/zero of=/scratch/x bs=1k "
        "count=200 2>&1 | head -1");
    EXPECT_NE(text.find("/dev/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=3072k"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("/scratch tmpfs rw,nosuid,nodev,noexec,relatime,size=128k,mode=700"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("/run tmpfs rw,nosuid,nodev,noexec"), std::string::npos) << text;
    EXPECT_NE(text.find("No space left"), std::string::npos) << text;
    EXPECT_NE(output_of({"--tmpfs", "/run:huge=always"}, "true").find("huge=always"),
              std::string::npos);
}

TEST(SysctlTest, AreSetBeforeTheWorkloadAndAnUnknownOneIsNamed) {
    EXPECT_EQ(output_of({"--sysctl", "kernel.panic=9", "--sysctl", "net.ipv4.ip_default_ttl=70"},
                        "cat /proc/sys/kernel/panic /proc/sys/net/ipv4/ip_default_ttl"),
              "9\n70\n");
    const Outcome unknown =
        drupe({"run", "--rm", "--sysctl", "net.core.no_such=1", "busybox", "true"});
    EXPECT_EQ(unknown.exit_code, 125);
    EXPECT_NE(unknown.err.find("net/core/no_such"), std::string::npos) << unknown.err;
}

TEST(LimitsTest, NoMoreProcessesThanTheLimitRun) {
    const std::string text =
        output_of({"--pids-limit", "5"},
                  "cat /sys/fs/cgroup/pids.max; for i in 1 2 3 4 5 6 7 8; do sleep 1 & done");
    EXPECT_EQ(text.substr(0, 2), "5\n");
    EXPECT_NE(text.find("can't fork"), std::string::npos) << text;
}

TEST(UsersTest, FurtherGroupsAreTheUsers) {
    EXPECT_EQ(output_of({"--user", "1000", "--group-add", "4242"}, "id -G"), "0 4242\n");
}

TEST(InitTest, AnInitReapsAndForwardsSignals) {
    // sleep(1) reaps no orphan: as PID 1 it has a zombie, which an init wouldn't.
    for (const std::string init : {"--init", "--init=false"}) {
        ASSERT_EQ(drupe({"run", "-d", init, "--name", "orphan", "busybox", "sh", "-c",
                         "(sleep 0.2 &); exec sleep 600"})
                      .exit_code,
                  0);
        ::sleep(2);
        EXPECT_EQ(drupe({"exec", "orphan", "sh", "-c",
                         "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"})
                      .out,
                  init == "--init" ? "0\n" : "1\n");
        EXPECT_EQ(drupe({"rm", "-f", "orphan"}).exit_code, 0);
    }
    EXPECT_EQ(output_of({"--init"}, "echo $PPID"), "1\n");
    ASSERT_EQ(drupe({"run", "-d", "--init", "--name", "init", "busybox", "sh", "-c",
                     "trap 'exit 6' TERM; echo ready; while :; do sleep 0.1; done"})
                  .exit_code,
              0);
    for (int i = 0; i < 100 && drupe({"logs", "init"}).out.empty(); ++i) ::usleep(100'000);
    ASSERT_EQ(drupe({"stop", "init"}).exit_code, 0);
    EXPECT_EQ(drupe({"wait", "init"}).out, "6\n");
    EXPECT_EQ(drupe({"rm", "init"}).exit_code, 0);
    EXPECT_EQ(drupe({"run", "--rm", "--init", "busybox", "no-such-program"}).exit_code, 127);
}

TEST(NamesTest, NameServersAndHostsAreInTheirFiles) {
    const std::string text = output_of({"--dns", "10.0.0.2", "--dns-search", "a.example",
                                        "--dns-option", "ndots:2", "--add-host", "db:10.0.0.3"},
                                       "cat /etc/resolv.conf; grep -w db /etc/hosts");
    EXPECT_EQ(text, "nameserver 10.0.0.2\nsearch a.example\noptions ndots:2\n10.0.0.3\tdb\n");
}

TEST(LogsTest, ALogIsRotatedOverItsFilesOrNotKeptAtAll) {
    ASSERT_EQ(drupe({"run", "--name", "talker", "--log-opt", "max-size=8k", "--log-opt",
                     "max-file=3", "busybox", "seq", "1", "2000"})
                  .exit_code,
              0);
    const std::string kept = drupe({"logs", "talker"}).out;
    EXPECT_EQ(kept.substr(kept.size() - 10), "1999\n2000\n");
    EXPECT_LT(kept.size(), 3u * 8192);
    EXPECT_EQ(drupe({"logs", "--tail", "3", "talker"}).out, "1998\n1999\n2000\n");
    EXPECT_EQ(drupe({"rm", "talker"}).exit_code, 0);
    ASSERT_EQ(drupe({"run", "--name", "mute", "--log-driver", "none", "busybox", "echo", "x"}).out,
              "x\n");
    EXPECT_EQ(drupe({"logs", "mute"}).out, "");
    EXPECT_EQ(drupe({"rm", "mute"}).exit_code, 0);
}

TEST(InputTest, TheFirstClientsEndOfInputIsTheWorkloads) {
    EXPECT_EQ(drupe({"run", "--rm", "-i", "busybox", "cat"}, "through\n").out, "through\n");
}

TEST(ExecTest, APrivilegedOneHasAllCapabilities) {
    ASSERT_EQ(drupe({"run", "-d", "--name", "plain", "busybox", "sleep", "600"}).exit_code, 0);
    const std::vector<std::string> show{"grep", "CapEff", "/proc/self/status"};
    std::vector<std::string> plain{"exec", "plain"};
    plain.insert(plain.end(), show.begin(), show.end());
    EXPECT_EQ(drupe(plain).out, "CapEff:\t00000000a80425fb\n");
    plain.insert(plain.begin() + 1, "--privileged");
    EXPECT_NE(drupe(plain).out.find("1ffffffffff"), std::string::npos);
    EXPECT_EQ(drupe({"rm", "-f", "plain"}).exit_code, 0);
}

}  // namespace
}  // namespace drupe::testing
