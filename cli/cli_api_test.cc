// The drupe command as a client of druped, over monitors that are only played: what cli_test.cc has
// for the engine in the command's own process.

#include <signal.h>

#include "cli/testing/cli_fixture.h"

namespace drupe::cli {
namespace {

class CliApiTest : public CliTest {
  protected:
    void SetUp() override {
        CliTest::SetUp();
        ::setenv("DRUPED", DRUPED_FAKE_PROGRAM, 1);
        ::setenv("DRUPE_HOST", ("unix://" + root_ + "/run/drupe.sock").c_str(), 1);
    }
    void TearDown() override {
        for (const std::string& id : lines(drupe({"ps", "-aq"}).out)) drupe({"rm", "-f", id});
        ::unsetenv("DRUPE_HOST");
        for (const pid_t pid : daemons()) ::kill(pid, SIGTERM);
        for (int i = 0; i < 500 && !daemons().empty(); ++i) ::usleep(10'000);
        EXPECT_TRUE(daemons().empty());
        CliTest::TearDown();
    }
    /// Processes that were started for our socket, and no others.
    [[nodiscard]] std::vector<pid_t> daemons() const {
        const std::string words =
            std::string("-H") + '\0' + "unix://" + root_ + "/run/drupe.sock" + '\0';
        std::vector<pid_t> found;
        for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
            const std::string name = entry.path().filename();
            if (name.find_first_not_of("0123456789") != std::string::npos) continue;
            const auto line = read_file(entry.path() / "cmdline", 64 << 10);
            if (line && line.value().ends_with(words)) found.push_back(std::stoi(name));
        }
        return found;
    }
};

TEST_F(CliApiTest, TheDaemonIsStartedOnceAndAgainWhenItDied) {
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

TEST_F(CliApiTest, CommandsThatStartItAtOnceEndWithOneDaemon) {
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

TEST_F(CliApiTest, AnotherDaemonsAddressIsNotServed) {
    ::setenv("DRUPE_HOST", ("unix://" + root_ + "/other.sock").c_str(), 1);
    const Outcome outcome = drupe({"ps"});
    EXPECT_EQ(outcome.code, 1);
    EXPECT_THAT(outcome.err, HasSubstr("Is druped running?"));
    EXPECT_EQ(drupe({"-H", "tcp://127.0.0.1:1", "ps"}).code, 1);
    EXPECT_EQ(drupe({"-H"}).code, 125);
    ::setenv("DRUPE_HOST", ("unix://" + root_ + "/run/drupe.sock").c_str(), 1);
}

TEST_F(CliApiTest, OutputAndExitCodeAreTheWorkloads) {
    const Outcome hello = drupe({"run", "--rm", "busybox", "hello"});
    EXPECT_EQ(hello.code, 0) << hello.err;
    EXPECT_EQ(hello.out, "hello\n");
    EXPECT_EQ(drupe({"run", "busybox", "exit", "3"}).code, 3);
    const Outcome missing = drupe({"run", "busybox", "missing"});
    EXPECT_EQ(missing.code, 127) << missing.err;
    EXPECT_THAT(missing.err, HasSubstr("not found"));
}

TEST_F(CliApiTest, AMebibyteGoesThroughStdinAndStdout) {
    std::string data(1 << 20, '\0');
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 31 + (i >> 9));
    const Outcome outcome = drupe({"run", "--rm", "-i", "busybox", "cat"}, data);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_TRUE(outcome.out == data);
}

TEST_F(CliApiTest, ADetachedContainerIsListedStoppedAndRemoved) {
    const Outcome started =
        drupe({"run", "-d", "--name", "web", "-l", "a=b", "busybox", "sleep", "1000"});
    ASSERT_EQ(started.code, 0) << started.err;
    ASSERT_EQ(started.out.size(), 65u);
    const std::string id = started.out.substr(0, 12);
    EXPECT_THAT(drupe({"ps"}).out, HasSubstr(id));
    EXPECT_EQ(drupe({"ps", "--format", "{{.Names}} {{.State}} {{.Labels}}"}).out,
              "web running a=b\n");
    EXPECT_EQ(drupe({"ps", "-q", "--filter", "name=other"}).out, "");
    EXPECT_EQ(drupe({"inspect", "-f", "{{.State.Status}}", "web"}).out, "running\n");
    EXPECT_EQ(drupe({"rm", "web"}).code, 1);
    const Outcome stopped = drupe({"stop", "-t", "1", "web"});
    EXPECT_EQ(stopped.out, "web\n") << stopped.err;
    EXPECT_EQ(drupe({"stop", "web"}).code, 0);
    EXPECT_EQ(drupe({"kill", "web"}).code, 1);
    EXPECT_EQ(drupe({"rm", "web"}).out, "web\n");
    EXPECT_EQ(drupe({"ps", "-aq"}).out, "");
}

TEST_F(CliApiTest, CreateStartAttachedWaitAndLogs) {
    EXPECT_EQ(drupe({"create", "--name", "one", "busybox", "hello"}).code, 0);
    const Outcome ran = drupe({"start", "-a", "one"});
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_EQ(ran.out, "hello\n");
    EXPECT_EQ(drupe({"wait", "one"}).out, "0\n");
    const Outcome attached = drupe({"attach", "one"});
    EXPECT_EQ(attached.code, 1);
    EXPECT_THAT(attached.err, HasSubstr("stopped container"));
    EXPECT_EQ(drupe({"logs", "one"}).out, "hello\n");
    EXPECT_EQ(drupe({"start", "one"}).out, "one\n");
}

TEST_F(CliApiTest, WhatIsNotThereIsFailureOne) {
    for (const char* command : {"start", "stop", "kill", "wait", "rm", "logs", "attach"}) {
        const Outcome outcome = drupe({command, "nosuch"});
        EXPECT_EQ(outcome.code, 1) << command;
        EXPECT_THAT(outcome.err, HasSubstr("No such container: nosuch")) << command;
    }
    const Outcome forced = drupe({"rm", "-f", "nosuch"});
    EXPECT_EQ(forced.code, 0);
    EXPECT_THAT(forced.err, HasSubstr("No such container"));
    EXPECT_EQ(drupe({"exec", "nosuch", "true"}).code, 1);
    EXPECT_THAT(drupe({"inspect", "nosuch"}).err, HasSubstr("No such object: nosuch"));
    const Outcome image = drupe({"run", "--pull", "never", "nosuch:1"});
    EXPECT_EQ(image.code, 125);
    EXPECT_THAT(image.err, HasSubstr("No such image: nosuch:1"));
    EXPECT_THAT(image.err, HasSubstr("drupe pull"));
}

TEST_F(CliApiTest, ExecReturnsItsOwnCode) {
    ASSERT_EQ(drupe({"run", "-d", "--name", "web", "busybox", "sleep", "1000"}).code, 0);
    const Outcome hello = drupe({"exec", "web", "hello"});
    EXPECT_EQ(hello.code, 0) << hello.err;
    EXPECT_EQ(hello.out, "exec\n");  // what a played one says
    EXPECT_EQ(drupe({"exec", "web", "exit", "5"}).code, 5);
    EXPECT_EQ(drupe({"exec", "-d", "web", "hello"}).out, "");
}

}  // namespace
}  // namespace drupe::cli
