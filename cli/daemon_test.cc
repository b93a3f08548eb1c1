// How the drupe command finds and starts its daemon.

#include <signal.h>

#include "cli/testing/cli_fixture.h"

namespace drupe::cli {
namespace {

using DaemonTest = CliTest;

TEST_F(DaemonTest, TheDaemonIsStartedOnceAndAgainWhenItDied) {
    EXPECT_EQ(drupe({"ps"}).code, 0);
    ASSERT_EQ(daemons().size(), 1u);
    const pid_t first = daemons().front();
    EXPECT_EQ(drupe({"ps"}).code, 0);
    EXPECT_EQ(daemons(), std::vector<pid_t>{first});
    ::kill(first, SIGKILL);
    for (int i = 0; i < 500 && !daemons().empty(); ++i) ::usleep(10'000);
    EXPECT_EQ(drupe({"ps"}).code, 0);
    EXPECT_EQ(daemons().size(), 1u);
}

TEST_F(DaemonTest, CommandsThatStartItAtOnceEndWithOneDaemon) {
    constexpr int kCommands = 6;
    std::vector<pid_t> commands;
    commands.reserve(kCommands);
    const Fd null = open_file("/dev/null", O_RDWR).value();
    for (int i = 0; i < kCommands; ++i)
        commands.push_back(start({"ps"}, null.get(), null.get(), null.get()));
    for (const pid_t command : commands) EXPECT_EQ(code_of(command), 0);
    for (int i = 0; i < 500 && daemons().size() > 1; ++i) ::usleep(10'000);
    EXPECT_EQ(daemons().size(), 1u);
}

TEST_F(DaemonTest, ADaemonThatEndsAtOnceIsSaidAtOnce) {
    ::setenv("DRUPED", "/bin/false", 1);
    const auto begin = std::chrono::steady_clock::now();
    const Outcome outcome = drupe({"ps"});
    ::setenv("DRUPED", DRUPED_FAKE_PROGRAM, 1);
    EXPECT_EQ(outcome.code, 1);
    EXPECT_THAT(outcome.err, HasSubstr("but ended: see " + root_ + "/druped.log"));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST_F(DaemonTest, AnotherDaemonsAddressIsNotServed) {
    ::setenv("DRUPE_HOST", ("unix://" + root_ + "/other.sock").c_str(), 1);
    const Outcome outcome = drupe({"ps"});
    EXPECT_EQ(outcome.code, 1);
    EXPECT_THAT(outcome.err, HasSubstr("Is druped running?"));
    EXPECT_EQ(drupe({"-H", "tcp://127.0.0.1:1", "ps"}).code, 1);
    EXPECT_EQ(drupe({"-H"}).code, 125);
    ::unsetenv("DRUPE_HOST");
    EXPECT_EQ(drupe({"-H", "unix://" + socket(), "ps"}).code, 0);
}

}  // namespace
}  // namespace drupe::cli
