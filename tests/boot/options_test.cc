// Options whose effect only a real guest shows.

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <fstream>

#include "tests/boot/running.h"

namespace drupe::testing {
namespace {

using std::chrono::seconds;

TEST(KernelTest, ABzImageDescribedByAnMpTableBootsToo) {
    const Outcome outcome = drupe({"run", "--rm", "--cpus", "2", "--kernel", DRUPE_TEST_BZIMAGE,
                                   "busybox", "sh", "-c", "uname -r; nproc"});
    EXPECT_NE(outcome.out.find("-drupe\n2\n"), std::string::npos) << outcome.out << outcome.err;
}

TEST(KernelTest, ItIsToldWhatTheUserAdds) {
    const Outcome outcome =
        drupe({"run", "--rm", "--kernel-args", "panic=7 drupe.test=a b", "busybox", "sh", "-c",
               "cat /proc/cmdline; sysctl kernel.panic"});
    EXPECT_NE(outcome.out.find("drupe.test=a b\n"), std::string::npos)
        << outcome.out << outcome.err;
    EXPECT_NE(outcome.out.find("kernel.panic = 7\n"), std::string::npos) << outcome.out;
}

TEST(KernelTest, AFileThatIsNoKernelIsRefusedByName) {
    const Outcome outcome = drupe({"run", "--rm", "--kernel", "/etc/passwd", "busybox", "true"});
    EXPECT_EQ(outcome.exit_code, 125);
    EXPECT_NE(outcome.err.find("kernel"), std::string::npos) << outcome.err;
}

TEST(KernelTest, TheConsoleShowsTheKernelsLog) {
    const Outcome outcome =
        drupe({"run", "--rm", "--console", "busybox", "true"}, "", seconds(300));
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_NE(outcome.err.find("Linux version"), std::string::npos) << outcome.err;
}

TEST(MemoryTest, AWorkloadOverItsLimitIsKilledAndTheMachineIsNot) {
    const Outcome outcome = drupe({"run", "--rm", "-m", "32m", "busybox", "sh", "-c",
                                   "dd if=/dev/zero of=/dev/null bs=100M count=1; echo code $?"});
    EXPECT_NE(outcome.out.find("code 137"), std::string::npos) << outcome.out << outcome.err;
}

TEST(MemoryTest, MoreThanTheGapLeavesBelowFourGibibytesIsThere) {
    const Outcome outcome = drupe(
        {"run", "--rm", "-m", "3500m", "busybox", "sh", "-c", "free -m | awk '/Mem:/{print $2}'"});
    EXPECT_GT(std::atoi(outcome.out.c_str()), 3500) << outcome.err;
}

TEST(EnvironmentTest, FilesAndEntrypointsAreHonoured) {
    std::ofstream("/tmp/drupe-env-file") << "# a comment\nONE=first\nTWO=second word\n";
    const Outcome outcome = drupe({"run", "--rm", "--env-file", "/tmp/drupe-env-file",
                                   "--entrypoint", "/bin/sh", "busybox", "-c", "echo $ONE, $TWO"});
    EXPECT_EQ(outcome.out, "first, second word\n") << outcome.err;
}

TEST(TerminalTest, ADetachedTerminalCanBeAttachedAgainAndTypedInto) {
    Process first(drupe_argv({"run", "-it", "--name", "detached", "busybox", "sh"}),
                  Process::Io::kTerminal);
    ASSERT_TRUE(first.wait_for("# ", seconds(60)));
    first.write("\x10\x11");  // ctrl-p ctrl-q
    EXPECT_EQ(first.finish(seconds(60)).exit_code, 0);

    Process second(drupe_argv({"attach", "detached"}), Process::Io::kTerminal);
    second.write("echo back $((6 * 7))\n");
    EXPECT_TRUE(second.wait_for("back 42", seconds(60)));
    second.write("exit 4\n");
    EXPECT_EQ(second.finish(seconds(60)).exit_code, 4);
    EXPECT_EQ(drupe({"rm", "-f", "detached"}).exit_code, 0);
}

}  // namespace
}  // namespace drupe::testing
