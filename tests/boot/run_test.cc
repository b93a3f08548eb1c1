// `drupe run` and its neighbours, each in a real machine with a real kernel.

#include <gtest/gtest.h>

#include <array>
#include <csignal>
#include <cstring>
#include <random>
#include <thread>

#include "tests/boot/running.h"

namespace drupe::testing {
namespace {

using std::chrono::seconds;

TEST(RunTest, TheGuestHasItsOwnKernel) {
    const Outcome outcome = drupe({"run", "--rm", "busybox", "uname", "-r"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_NE(outcome.out.find("-drupe"), std::string::npos) << outcome.out;
}

TEST(RunTest, ExitCodesComeBack) {
    const auto code = [](const std::vector<std::string>& command) {
        std::vector<std::string> arguments{"run", "--rm", "busybox"};
        arguments.insert(arguments.end(), command.begin(), command.end());
        return drupe(arguments).exit_code;
    };
    EXPECT_EQ(code({"true"}), 0);
    EXPECT_EQ(code({"sh", "-c", "exit 3"}), 3);
    EXPECT_EQ(code({"/etc/passwd"}), 126);
    EXPECT_EQ(code({"no-such-program"}), 127);
    EXPECT_EQ(code({"sh", "-c", "sleep 1000 & kill -9 $!; wait $!"}), 137);
    EXPECT_EQ(drupe({"run", "--rm", "busybox:no-such-tag", "true"}).exit_code, 125);
}

TEST(RunTest, StdoutAndStderrStayApart) {
    const Outcome outcome = drupe({"run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2"});
    EXPECT_EQ(outcome.out, "out\n");
    EXPECT_EQ(outcome.err, "err\n");
}

TEST(RunTest, SixtyFourMebibytesThroughCatKeepTheirDigest) {
    const auto megabytes = static_cast<size_t>(repetitions(8, 64));
    std::string data(megabytes << 20, '\0');
    std::mt19937_64 random(1);
    for (size_t i = 0; i < data.size(); i += 8) {
        const uint64_t value = random();
        std::memcpy(data.data() + i, &value, sizeof value);
    }
    const Outcome outcome = drupe({"run", "--rm", "-i", "busybox", "cat"}, data, seconds(1800));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    ASSERT_EQ(outcome.out.size(), data.size());
    EXPECT_TRUE(outcome.out == data);  // stronger than equal digests
}

TEST(RunTest, EnvironmentUserDirectoryAndHostNameAreTheOnesAsked) {
    const Outcome outcome = drupe({"run", "--rm", "-e", "A=b c", "-u", "1234:5678", "-w",
                                   "/some/where", "--hostname", "box", "busybox", "sh", "-c",
                                   "echo $A; id -u; id -g; pwd; hostname; grep -c box /etc/hosts"});
    EXPECT_EQ(outcome.out, "b c\n1234\n5678\n/some/where\nbox\n1\n") << outcome.err;
}

TEST(RunTest, TheWorkloadIsProcessOneAndSeesOnlyItsOwn) {
    const Outcome outcome =
        drupe({"run", "--rm", "busybox", "sh", "-c", "echo $$; ls -d /proc/[0-9]* | wc -l"});
    EXPECT_EQ(outcome.out.substr(0, 2), "1\n") << outcome.out << outcome.err;
}

TEST(RunTest, BothCpusAreUsed) {
    const Outcome outcome = drupe({"run", "--rm", "--cpus", "2", "busybox", "sh", "-c",
                                   "nproc; for c in 0 1; do taskset -c $c true && echo ok; done"});
    EXPECT_EQ(outcome.out, "2\nok\nok\n") << outcome.err;
}

TEST(RunTest, AReadOnlyRootCantBeWritten) {
    const Outcome outcome =
        drupe({"run", "--rm", "--read-only", "busybox", "sh", "-c", "touch /x || echo refused"});
    EXPECT_NE(outcome.out.find("refused"), std::string::npos) << outcome.err;
}

TEST(RunTest, SignalsReachTheWorkload) {
    const std::string script =
        "trap 'echo got INT; exit 7' INT; trap 'echo got TERM; exit 8' TERM; "
        "echo ready; while :; do sleep 0.1; done";
    for (const int number : {SIGINT, SIGTERM}) {
        Process process(drupe_argv({"run", "--rm", "busybox", "sh", "-c", script}),
                        Process::Io::kPipes);
        ASSERT_TRUE(process.wait_for("ready", seconds(60)));
        process.signal(number);
        const Outcome outcome = process.finish(seconds(60));
        EXPECT_EQ(outcome.exit_code, number == SIGINT ? 7 : 8) << outcome.err;
    }
}

TEST(RunTest, ATerminalHasTheClientsSizeAndFollowsIt) {
    Process process(drupe_argv({"run", "--rm", "-it", "busybox", "sh"}), Process::Io::kTerminal);
    ASSERT_TRUE(process.wait_for("# ", seconds(60)));
    process.resize(33, 101);
    process.write("sleep 1; stty size\n");
    EXPECT_TRUE(process.wait_for("33 101", seconds(60)));
    process.write("sleep 100\n");
    std::this_thread::sleep_for(seconds(1));
    process.write("\x03");
    process.write("exit 5\n");
    EXPECT_EQ(process.finish(seconds(60)).exit_code, 5);
}

TEST(RunTest, TheOutputOfAWorkloadThatExitsAtOnceIsNeverLost) {
    const int count = repetitions(5, 100);
    int complete = 0;
    for (int i = 0; i < count; ++i) {
        const Outcome outcome = drupe({"run", "--rm", "busybox", "echo", "hello"});
        const bool whole = outcome.exit_code == 0 && outcome.out == "hello\n";
        complete += whole ? 1 : 0;
        EXPECT_TRUE(whole) << "run " << i << ": " << outcome.exit_code << " " << outcome.out
                           << outcome.err;
    }
    EXPECT_EQ(complete, count);
}

TEST(ExecTest, TheOutputOfManySessionsInOneMachineIsNeverLost) {
    const Running machine;
    const int count = repetitions(50, 1000);
    int complete = 0;
    for (int i = 0; i < count; ++i)
        complete += drupe({"exec", machine.id(), "echo", "hello"}).out == "hello\n" ? 1 : 0;
    EXPECT_EQ(complete, count);
}

TEST(ExecTest, SessionsRunSideBySideWithTheirOwnExitCodes) {
    const Running machine;
    std::vector<std::thread> threads;
    std::array<int, 8> codes{};
    for (size_t i = 0; i < codes.size(); ++i) {
        threads.emplace_back([&, i] {
            codes[i] =
                drupe({"exec", machine.id(), "sh", "-c", "sleep 1; exit " + std::to_string(i)})
                    .exit_code;
        });
    }
    for (std::thread& thread : threads) thread.join();
    for (size_t i = 0; i < codes.size(); ++i) EXPECT_EQ(codes[i], static_cast<int>(i));
}

TEST(ExecTest, StandardInputEndsWhereTheClientsDoes) {
    const Running machine;
    const Outcome outcome =
        drupe({"exec", "-i", machine.id(), "wc", "-c"}, std::string(100'000, 'x'));
    EXPECT_EQ(trim(outcome.out), "100000") << outcome.err;
}

TEST(LifecycleTest, DetachedContainersAreListedStoppedStartedAgainAndRemoved) {
    Outcome outcome =
        drupe({"run", "-d", "--name", "lifecycle", "busybox", "sh", "-c",
               "echo started; trap 'exit 0' TERM; touch /kept; while :; do sleep 0.1; done"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_NE(drupe({"ps"}).out.find("lifecycle"), std::string::npos);
    for (int i = 0; i < 100 && drupe({"logs", "lifecycle"}).out.empty(); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_EQ(drupe({"logs", "lifecycle"}).out, "started\n");
    EXPECT_EQ(drupe({"stop", "lifecycle"}).exit_code, 0);
    EXPECT_EQ(drupe({"ps", "-q"}).out, "");
    EXPECT_EQ(drupe({"start", "lifecycle"}).exit_code, 0);
    EXPECT_EQ(drupe({"exec", "lifecycle", "ls", "/kept"}).out, "/kept\n");  // its disk stayed
    EXPECT_EQ(drupe({"kill", "lifecycle"}).exit_code, 0);
    EXPECT_EQ(trim(drupe({"wait", "lifecycle"}).out), "137");
    EXPECT_EQ(drupe({"rm", "lifecycle"}).exit_code, 0);
    EXPECT_EQ(drupe({"ps", "-aq"}).out, "");
}

TEST(LifecycleTest, TwentyMachinesRunAtOnce) {
    const int count = repetitions(8, 20);
    std::vector<std::thread> threads;
    std::vector<Outcome> outcomes(static_cast<size_t>(count));
    for (size_t i = 0; i < outcomes.size(); ++i) {
        threads.emplace_back([&, i] {
            outcomes[i] =
                drupe({"run", "--rm", "busybox", "echo", std::to_string(i)}, "", seconds(600));
        });
    }
    for (std::thread& thread : threads) thread.join();
    for (size_t i = 0; i < outcomes.size(); ++i)
        EXPECT_EQ(trim(outcomes[i].out), std::to_string(i)) << outcomes[i].err;
}

}  // namespace
}  // namespace drupe::testing
