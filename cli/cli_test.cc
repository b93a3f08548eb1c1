// The drupe command as a user sees it, over monitors that are only played: arguments, output, exit
// codes, streams, signals and terminals. Real machines: tests/boot.

#include "cli/testing/cli_fixture.h"

namespace drupe::cli {
namespace {

TEST_F(CliTest, UsageErrorsAre125AndNameTheFlag) {
    const Outcome outcome = drupe({"run", "--bogus", "busybox"});
    EXPECT_EQ(outcome.code, 125);
    EXPECT_THAT(outcome.err, HasSubstr("unknown flag: --bogus"));
    EXPECT_THAT(outcome.err, HasSubstr("drupe run --help"));
    EXPECT_EQ(drupe({"ps", "--bogus"}).err,
              "unknown flag: --bogus\n\nUsage:  drupe ps "
              "[OPTIONS]\n\nRun 'drupe ps --help' for more "
              "information\n");
    EXPECT_EQ(drupe({"ps", "--bogus"}).code, 125);
    for (const char* bad : {"", "=x"}) {
        EXPECT_EQ(drupe({"run", "-e", bad, "busybox"}).code, 125) << bad;
        EXPECT_EQ(drupe({"run", "-l", bad, "busybox"}).code, 125) << bad;
    }
    EXPECT_EQ(drupe({"run", "-m", "much", "busybox"}).code, 125);
    EXPECT_EQ(drupe({"run", "--boot", "warm", "busybox"}).code, 125);
}

TEST_F(CliTest, WhatDockerHasAndDrupeHasNotIsRefusedWithTheReasonAndWhatToDo) {
    for (const Strings& options :
         {Strings{"-v", "/a:/b"}, Strings{"-v/a:/b"}, Strings{"--volume=/a:/b"},
          Strings{"--mount", "type=bind"}, Strings{"-p", "80:80"}, Strings{"-itp", "80:80"},
          Strings{"--publish", "80"}, Strings{"-P"}, Strings{"--device=/dev/null"},
          Strings{"--rm", "--security-opt", "no-new-privileges"}}) {
        for (const char* command : {"run", "create"}) {
            Strings arguments{command};
            arguments.insert(arguments.end(), options.begin(), options.end());
            arguments.emplace_back("busybox");
            const Outcome outcome = drupe(arguments);
            EXPECT_EQ(outcome.code, 125) << options.front();
            EXPECT_THAT(outcome.err, HasSubstr(" is not supported: ")) << options.front();
            EXPECT_EQ(outcome.err.find('\n'), outcome.err.size() - 1) << outcome.err;
        }
    }
    EXPECT_THAT(drupe({"run", "-v", "/a:/b", "busybox"}).err,
                HasSubstr("option -v,--volume is not supported: mounts from the host"));
    EXPECT_THAT(drupe({"exec", "-v", "x"}).err, HasSubstr("unknown shorthand flag: -v"));
    const Outcome build = drupe({"build", "-t", "x", "."});
    EXPECT_EQ(build.code, 1);
    EXPECT_THAT(build.err, HasSubstr("command build is not supported: "));
    EXPECT_THAT(build.err, HasSubstr("drupe load"));
}

TEST_F(CliTest, AWrongNumberOfArgumentsIsFailureOneInDockersWords) {
    const Outcome few = drupe({"stop"});
    EXPECT_EQ(few.code, 1);
    EXPECT_THAT(few.err, HasSubstr("'drupe stop' requires at least 1 argument\n"));
    EXPECT_THAT(drupe({"rename", "a"}).err, HasSubstr("'drupe rename' requires 2 arguments\n"));
    EXPECT_THAT(drupe({"ps", "extra"}).err, HasSubstr("'drupe ps' accepts no arguments\n"));
    EXPECT_EQ(drupe({"run"}).code, 1);
    const Outcome unknown = drupe({"nonsense"});
    EXPECT_EQ(unknown.code, 1);
    EXPECT_THAT(unknown.err, HasSubstr("unknown command: drupe nonsense\n"));
    EXPECT_EQ(drupe({"container", "nonsense"}).code, 1);
    EXPECT_EQ(drupe({"--nosuch"}).code, 125);
    EXPECT_EQ(drupe({}).code, 0);
    EXPECT_THAT(drupe({}).out, HasSubstr("Usage:  drupe COMMAND"));
}

TEST_F(CliTest, EveryCommandHasHelpWithAnExample) {
    for (const char* command :
         {"run",    "exec",   "ps",      "create", "start",     "stop",   "kill",    "wait",
          "attach", "logs",   "inspect", "rm",     "images",    "load",   "import",  "tag",
          "rmi",    "doctor", "version", "diff",   "export",    "save",   "history", "restart",
          "stats",  "events", "info",    "port",   "container", "volume", "network", "image"}) {
        const Outcome outcome = drupe({command, "--help"});
        EXPECT_EQ(outcome.code, 0) << command;
        EXPECT_THAT(outcome.out, HasSubstr("Examples:")) << command;
        EXPECT_EQ(drupe({"help", command}).out, outcome.out);
        EXPECT_THAT(drupe({"help"}).out, HasSubstr(command));
    }
}

TEST_F(CliTest, TheWorkloadsExitCodeAndOutputAreTheCommands) {
    EXPECT_EQ(drupe({"run", "busybox", "exit", "3"}).code, 3);
    const Outcome hello = drupe({"run", "--rm", "busybox", "hello"});
    EXPECT_EQ(hello.code, 0) << hello.err;
    EXPECT_EQ(hello.out, "hello\n");
}

TEST_F(CliTest, AMissingImageIs125AMissingProgram127AndBothSayWhatIsMissing) {
    const Outcome image = drupe({"run", "--pull", "never", "nosuch:1"});
    EXPECT_EQ(image.code, 125);
    EXPECT_THAT(image.err, HasSubstr("No such image: nosuch:1"));
    EXPECT_THAT(image.err, HasSubstr("drupe load"));
    for (const Strings& options : {Strings{"run"}, Strings{"run", "-d"}}) {
        Strings arguments = options;
        arguments.insert(arguments.end(), {"busybox", "missing"});
        const Outcome program = drupe(arguments);
        EXPECT_EQ(program.code, 127);
        EXPECT_THAT(program.err, HasSubstr("not found"));
        EXPECT_EQ(program.out, "");
    }
}

TEST_F(CliTest, AContainerThatIsNotThereIsFailureOne) {
    for (const char* command : {"start", "stop", "kill", "wait", "rm", "logs", "attach"}) {
        const Outcome outcome = drupe({command, "nosuch"});
        EXPECT_EQ(outcome.code, 1) << command;
        EXPECT_THAT(outcome.err, HasSubstr("No such container: nosuch")) << command;
    }
    EXPECT_EQ(drupe({"rm", "-f", "nosuch"}).code, 0);
    EXPECT_EQ(drupe({"inspect", "nosuch"}).code, 1);
    EXPECT_EQ(drupe({"exec", "nosuch", "exit"}).code, 1);
}

TEST_F(CliTest, AMebibyteGoesThroughStdinAndStdout) {
    std::string data(1 << 20, '\0');
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 31 + (i >> 9));
    const Outcome outcome = drupe({"run", "--rm", "-i", "busybox", "cat"}, data);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_TRUE(outcome.out == data);
}

TEST_F(CliTest, ADetachedContainerIsListedAsDockerDoesStoppedAndRemoved) {
    const Outcome started = drupe({"run", "-d", "--name", "web", "busybox", "sleep", "1000"});
    ASSERT_EQ(started.code, 0) << started.err;
    EXPECT_EQ(started.out.size(), 65u);
    const std::string id = started.out.substr(0, 12);
    const std::string table = drupe({"ps"}).out;
    EXPECT_TRUE(std::regex_match(
        table,
        std::regex("CONTAINER ID   IMAGE     COMMAND        CREATED +STATUS +PORTS   NAMES\n" + id +
                   "   busybox   \"sleep 1000\"   [A-Za-z0-9 ]+ ago +Up [A-Za-z0-9 ]+ "
                   "web\n")))
        << table;
    EXPECT_EQ(drupe({"ps", "-q"}).out, id + "\n");
    EXPECT_EQ(drupe({"ps", "-q", "--no-trunc"}).out, started.out);
    EXPECT_EQ(drupe({"ps", "--format", "{{.Names}}\\t{{.Image}}"}).out, "web\tbusybox\n");
    EXPECT_THAT(drupe({"ps", "--json"}).out, HasSubstr("\"State\":\"running\""));
    EXPECT_EQ(drupe({"rm", "web"}).code, 1);
    EXPECT_EQ(drupe({"stop", "web"}).out, "web\n");
    EXPECT_EQ(drupe({"ps", "-q"}).out, "");
    EXPECT_EQ(drupe({"ps", "-aq", "--filter", "status=exited"}).out, id + "\n");
    EXPECT_EQ(drupe({"ps", "-aq", "--filter", "status=running"}).out, "");
    EXPECT_THAT(drupe({"ps", "-a"}).out, HasSubstr("Exited (143) "));
    EXPECT_EQ(drupe({"wait", "web"}).out, "143\n");
    EXPECT_EQ(drupe({"start", "web"}).out, "web\n");
    EXPECT_EQ(drupe({"kill", "web"}).out, "web\n");
    EXPECT_EQ(drupe({"inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{json .Config.Cmd}}",
                     "web"})
                  .out,
              "exited 137 [\"sleep\",\"1000\"]\n");
    EXPECT_EQ(drupe({"rm", "web"}).out, "web\n");
    EXPECT_EQ(drupe({"ps", "-aq"}).out, "");
}

TEST_F(CliTest, InspectKeepsDockersNamesAndOrder) {
    ASSERT_EQ(drupe({"create", "--name", "web", "-e", "A=b", "-l", "k=v", "busybox", "sleep"}).code,
              0);
    const std::string text = drupe({"inspect", "web"}).out;
    EXPECT_THAT(text, MatchesRegex("\\[\n    \\{\n        \"Id\": \"[0-9a-f]+\",\n        "
                                   "\"Created\": \"[0-9TZ:.-]+\",\n        \"Path\": \"sleep\",\n"
                                   "(.|\n)*\\]\n"));
    for (const char* part : {"\"Status\": \"created\"", "\"StartedAt\": \"0001-01-01T00:00:00Z\"",
                             "\"Name\": \"/web\"", "\"A=b\"", "\"k\": \"v\""}) {
        EXPECT_THAT(text, HasSubstr(part));
    }
}

TEST_F(CliTest, LogsAreWhatWasWrittenAndRemovedWithTheContainer) {
    ASSERT_EQ(drupe({"run", "--name", "web", "busybox", "hello"}).code, 0);
    EXPECT_EQ(drupe({"logs", "web"}).out, "hello\n");
    EXPECT_EQ(drupe({"logs", "-f", "web"}).out, "hello\n");  // it has ended: so does this
    EXPECT_EQ(drupe({"logs", "--tail", "0", "web"}).out, "");
    EXPECT_EQ(drupe({"logs", "--until", "1h", "web"}).out, "");
    EXPECT_THAT(drupe({"logs", "-t", "web"}).out, MatchesRegex("2[0-9]+-[0-9TZ:.-]+ hello\n"));
    EXPECT_EQ(drupe({"logs", "--since", "yesterday", "web"}).code, 1);
}

TEST_F(CliTest, WhatNeverStartedHasNoMoreToLog) {
    ASSERT_EQ(drupe({"create", "--name", "web", "busybox", "hello"}).code, 0);
    EXPECT_EQ(drupe({"logs", "-f", "web"}).out, "");  // and ends
}

TEST_F(CliTest, AnAutoRemovedContainerIsGoneWhenItsCommandIs) {
    ASSERT_EQ(drupe({"run", "--rm", "--name", "web", "busybox", "exit", "0"}).code, 0);
    EXPECT_EQ(drupe({"ps", "-aq"}).out, "");
    EXPECT_EQ(drupe({"run", "--rm", "--name", "web", "busybox", "exit", "0"}).code, 0);
}

TEST_F(CliTest, AnIdFileThatCantBeWrittenStopsItInTime) {
    for (const char* command : {"run", "create"}) {
        const Outcome outcome =
            drupe({command, "--cidfile", root_ + "/none/id", "busybox", "true"});
        EXPECT_NE(outcome.code, 0);
        EXPECT_THAT(outcome.err, HasSubstr("/none/id"));
    }
    EXPECT_EQ(drupe({"ps", "-aq"}).out, "");
}

TEST_F(CliTest, SignalsGoToTheWorkload) {
    const std::string id_file = root_ + "/id";
    FdPair out = make_pipe().value();
    const pid_t child =
        start({"run", "--rm", "--cidfile", id_file, "busybox", "sleep"},
              open_file("/dev/null", O_RDONLY).value().get(), out.second.get(), STDERR_FILENO);
    for (int i = 0; i < 2000 && ::access(id_file.c_str(), R_OK) != 0; ++i) ::usleep(5000);
    ::kill(child, SIGTERM);
    EXPECT_EQ(code_of(child), 143);
}

TEST_F(CliTest, ExecReturnsItsOwnCodeAndOutput) {
    ASSERT_EQ(drupe({"run", "-d", "--name", "web", "busybox", "sleep"}).code, 0);
    const Outcome outcome = drupe({"exec", "web", "exit", "6"});
    EXPECT_EQ(outcome.code, 6) << outcome.err;
    EXPECT_EQ(outcome.out, "exec\n");
    EXPECT_EQ(drupe({"exec", "web", "missing"}).code, 127);
    EXPECT_EQ(drupe({"exec", "-d", "web", "exit", "6"}).code, 0);
    ASSERT_EQ(drupe({"stop", "web"}).code, 0);
    const Outcome stopped = drupe({"exec", "web", "exit"});
    EXPECT_EQ(stopped.code, 1);
    EXPECT_THAT(stopped.err, HasSubstr("is not running"));
}

TEST_F(CliTest, ATerminalIsRawMeanwhileFollowsItsSizeAndIsPutBack) {
    int controller = -1;
    int terminal = -1;
    winsize size{24, 80, 0, 0};
    ASSERT_EQ(::openpty(&controller, &terminal, nullptr, nullptr, &size), 0);
    termios before{};
    ::tcgetattr(terminal, &before);
    const pid_t child =
        start({"run", "--rm", "-it", "busybox", "tty"}, terminal, terminal, terminal);
    std::string seen;
    EXPECT_TRUE(read_until(controller, "size 24 80", seen)) << seen;
    termios during{};
    ::tcgetattr(terminal, &during);
    EXPECT_EQ(during.c_lflag & (ICANON | ECHO | ISIG), 0u);
    size = {33, 101, 0, 0};
    ::ioctl(controller, TIOCSWINSZ, &size);
    ::kill(child, SIGWINCH);
    EXPECT_TRUE(read_until(controller, "size 33 101", seen)) << seen;
    ASSERT_EQ(::write(controller, "\x03q", 2), 2);  // Ctrl-C is a byte like any other
    EXPECT_EQ(code_of(child), 3);
    termios after{};
    ::tcgetattr(terminal, &after);
    EXPECT_EQ(after.c_lflag, before.c_lflag);
    ::close(controller);
    ::close(terminal);
}

TEST_F(CliTest, TheDetachKeysLeaveATerminalAndTheContainerGoesOn) {
    int controller = -1;
    int terminal = -1;
    ASSERT_EQ(::openpty(&controller, &terminal, nullptr, nullptr, nullptr), 0);
    const pid_t child =
        start({"run", "--name", "web", "-it", "busybox", "tty"}, terminal, terminal, terminal);
    std::string seen;
    EXPECT_TRUE(read_until(controller, "ready", seen)) << seen;
    EXPECT_TRUE(await_raw(terminal));
    ASSERT_EQ(::write(controller, "\x10\x11", 2), 2);
    EXPECT_EQ(code_of(child), 0);
    EXPECT_EQ(drupe({"ps", "--format", "{{.Names}} {{.State}}"}).out, "web running\n");
    ::close(controller);
    ::close(terminal);
}

TEST_F(CliTest, WhoAttachesAfterTheDetachKeysTypesOn) {
    int controller = -1;
    int terminal = -1;
    winsize size{24, 80, 0, 0};
    ASSERT_EQ(::openpty(&controller, &terminal, nullptr, nullptr, &size), 0);
    pid_t child =
        start({"run", "--name", "web", "-it", "busybox", "tty"}, terminal, terminal, terminal);
    for (int attached = 0; attached < 3; ++attached) {
        std::string seen;
        EXPECT_TRUE(read_until(controller, "size 24 80", seen)) << seen;
        EXPECT_TRUE(await_raw(terminal));
        ASSERT_EQ(::write(controller, "\x10\x11", 2), 2);
        EXPECT_EQ(code_of(child), 0);
        child = start({"attach", "web"}, terminal, terminal, terminal);
    }
    std::string seen;
    EXPECT_TRUE(read_until(controller, "size 24 80", seen)) << seen;
    ASSERT_EQ(::write(controller, "q", 1), 1);
    EXPECT_EQ(code_of(child), 3);
    ::close(controller);
    ::close(terminal);
}

TEST_F(CliTest, TheConsoleIsCopiedToItsEndAndOurStandardErrorStaysAsItWas) {
    FdPair err = make_pipe().value();
    const Fd null = open_file("/dev/null", O_RDWR).value();
    for (const Strings& command : {Strings{"run", "--name", "web", "--console", "busybox", "hello"},
                                   Strings{"start", "-a", "web"}}) {
        EXPECT_EQ(code_of(start(command, null.get(), null.get(), err.second.get())), 0);
        EXPECT_EQ(::fcntl(err.second.get(), F_GETFL) & O_NONBLOCK, 0);
        std::string seen;
        EXPECT_TRUE(read_until(err.first.get(), "power down\n", seen)) << seen;
    }
}

TEST_F(CliTest, AMonitorWithoutAPlaceForTheDaemonIsNoFailure) {
    EXPECT_EQ(drupe({"run", "-d", "--name", "web", "busybox", "crowded"}).code, 0);
    EXPECT_EQ(drupe({"ps", "--format", "{{.State}}"}).out, "running\n");
}

TEST_F(CliTest, StatsEventsInfoAndVersionAreTheDaemons) {
    ASSERT_EQ(drupe({"run", "-d", "--name", "web", "--restart", "on-failure:2", "--network", "none",
                     "busybox", "sleep"})
                  .code,
              0);
    EXPECT_EQ(
        drupe({"inspect", "-f", "{{.HostConfig.RestartPolicy.MaximumRetryCount}}", "web"}).out,
        "2\n");
    const Outcome stats = drupe({"stats", "--no-stream", "web"});
    EXPECT_EQ(stats.code, 0) << stats.err;
    EXPECT_THAT(stats.out, MatchesRegex("CONTAINER ID   NAME +CPU % (.|\n)*web  (.|\n)*"));
    EXPECT_EQ(drupe({"stats", "--no-stream", "--format", "{{.Name}}"}).out, "web\n");
    EXPECT_EQ(drupe({"stats", "--no-stream", "nosuch"}).code, 1);
    EXPECT_EQ(drupe({"restart", "-t", "1", "web"}).out, "web\n");
    const std::string events =
        drupe({"events", "--since", "1h", "--until", "0s", "--format", "{{.Type}} {{.Action}}"})
            .out;
    EXPECT_THAT(events, HasSubstr("container start\n"));
    EXPECT_THAT(events, HasSubstr("container restart\n"));
    EXPECT_THAT(drupe({"info"}).out, HasSubstr("Containers: 1\n  Running: 1\n"));
    EXPECT_EQ(drupe({"info", "-f", "{{.ContainersRunning}}"}).out, "1\n");
    EXPECT_THAT(drupe({"version"}).out, HasSubstr("API version:  1.50"));
    EXPECT_EQ(drupe({"port", "web"}).code, 0);
    EXPECT_EQ(drupe({"stop", "web"}).code, 0);
    EXPECT_THAT(drupe({"container", "prune", "-f"}).out,
                MatchesRegex("Deleted Containers:\n[0-9a-f]+\n\nTotal reclaimed space: .*\n"));
    EXPECT_EQ(drupe({"image", "prune", "-f"}).code, 0);
}

TEST_F(CliTest, HealthOptionsAreTheContainers) {
    const Strings options{"create",       "--name",      "web",
                          "--health-cmd", "test -e /up", "--health-interval",
                          "1m30s",        "busybox",     "sleep"};
    ASSERT_EQ(drupe(options).code, 0);
    EXPECT_EQ(drupe({"inspect", "-f",
                     "{{json .Config.Healthcheck.Test}} {{.Config.Healthcheck.Interval}}", "web"})
                  .out,
              "[\"CMD-SHELL\",\"test -e /up\"] 90000000000\n");
    EXPECT_EQ(drupe({"create", "--no-healthcheck", "--health-retries", "3", "busybox"}).code, 125);
    EXPECT_EQ(drupe({"create", "--health-timeout", "soon", "busybox"}).code, 125);
}

TEST_F(CliTest, VolumesAndNetworksAreNames) {
    EXPECT_EQ(drupe({"volume", "create", "data"}).out, "data\n");
    EXPECT_EQ(drupe({"volume", "ls", "-q"}).out, "data\n");
    EXPECT_EQ(drupe({"volume", "inspect", "-f", "{{.Name}}", "data"}).out, "data\n");
    EXPECT_EQ(drupe({"volume", "rm", "data"}).out, "data\n");
    EXPECT_EQ(drupe({"network", "create", "mine"}).out.size(), 65u);
    EXPECT_THAT(drupe({"network", "ls"}).out, HasSubstr("mine"));
    EXPECT_EQ(drupe({"network", "inspect", "-f", "{{.Name}}", "mine"}).out, "mine\n");
    EXPECT_THAT(drupe({"network", "prune", "-f"}).out, HasSubstr("Deleted Networks:\nmine\n"));
    EXPECT_EQ(drupe({"network", "rm", "mine"}).code, 1);
    EXPECT_EQ(drupe({"network", "rm", "-f", "mine"}).code, 0);
}

TEST_F(CliTest, ListsAreFilteredByTheDaemon) {
    ASSERT_EQ(drupe({"create", "--name", "web", "-l", "a=b", "busybox", "sleep"}).code, 0);
    const auto names = [&](const char* filter) {
        return drupe({"ps", "-a", "--format", "{{.Names}}", "-f", filter}).out;
    };
    EXPECT_EQ(names("label=a"), "web\n");
    EXPECT_EQ(names("label=a=c"), "");
    EXPECT_EQ(names("ancestor=busybox:latest"), "web\n");
    EXPECT_EQ(names("name=other"), "");
    EXPECT_EQ(drupe({"ps", "-f", "colour=red"}).code, 1);
    EXPECT_EQ(drupe({"images", "-f", "reference=busy*", "--format", "{{.Tag}}"}).out, "latest\n");
    EXPECT_EQ(drupe({"images", "-f", "dangling=true", "-q"}).out, "");
    EXPECT_EQ(drupe({"images", "-f", "dangling=maybe"}).code, 1);
}

TEST_F(CliTest, ATerminalThatIsNoneIsRefused) {
    const Outcome outcome = drupe({"run", "-it", "busybox", "tty"});
    EXPECT_EQ(outcome.code, 1);
    EXPECT_THAT(outcome.err, HasSubstr("not a TTY"));
}

TEST_F(CliTest, ImagesAreListedTaggedAndRemovedUnlessTheyAreUsed) {
    ASSERT_EQ(drupe({"create", "--name", "web", "busybox", "sleep"}).code, 0);
    const std::string table = drupe({"images"}).out;
    EXPECT_THAT(table, MatchesRegex("REPOSITORY   TAG      IMAGE ID       CREATED +SIZE\n"
                                    "busybox      latest   [0-9a-f]+   .* ago   [0-9.]+[kM]B\n"));
    const std::string id = lines(drupe({"images", "-q"}).out).at(0);
    EXPECT_EQ(drupe({"tag", "busybox", "mine:1"}).code, 0);
    EXPECT_EQ(drupe({"images", "-q", "mine"}).out, id + "\n");
    EXPECT_EQ(drupe({"rmi", "mine:1"}).out, "Untagged: mine:1\n");
    const Outcome used = drupe({"rmi", "busybox"});
    EXPECT_EQ(used.code, 1);
    EXPECT_THAT(used.err, HasSubstr("unable to remove repository reference \"busybox\" (must "
                                    "force) - container "));
    ASSERT_EQ(drupe({"rm", "web"}).code, 0);
    EXPECT_THAT(drupe({"rmi", id}).out, HasSubstr("Deleted: sha256:" + id));
    EXPECT_EQ(drupe({"images", "-q"}).out, "");
}

TEST_F(CliTest, TheSystemIsMeasuredVerifiedAndPruned) {
    ASSERT_EQ(drupe({"run", "busybox", "exit", "0"}).code, 0);
    ASSERT_EQ(drupe({"create", "--name", "idle", "busybox", "true"}).code, 0);
    const Outcome df = drupe({"system", "df"});
    ASSERT_EQ(df.code, 0) << df.err;
    EXPECT_THAT(df.out, ::testing::StartsWith("TYPE "));
    EXPECT_TRUE(std::regex_search(df.out, std::regex("Images +1 +1 +[0-9.]+[kM]B +0B \\(0%\\)")))
        << df.out;
    EXPECT_TRUE(std::regex_search(df.out, std::regex("Containers +2 +0 +"))) << df.out;
    EXPECT_THAT(drupe({"system", "df", "-v"}).out, HasSubstr("idle"));

    const Outcome inspected = drupe({"layer", "inspect", "busybox"});
    EXPECT_EQ(inspected.code, 0) << inspected.err;
    EXPECT_THAT(inspected.out, HasSubstr("\"MerkleRoot\""));
    const Outcome good = drupe({"system", "verify"});
    EXPECT_EQ(good.code, 0) << good.err;
    EXPECT_THAT(good.out, HasSubstr("2 layers verified"));

    // Damage the largest layer.
    std::filesystem::path layer;
    for (const auto& entry : std::filesystem::directory_iterator(root_ + "/layers")) {
        if (layer.empty() || entry.file_size() > std::filesystem::file_size(layer)) layer = entry;
    }
    {
        const Fd file = open_file(layer, O_RDWR).value();
        ASSERT_TRUE(write_exact(file.get(), std::as_bytes(std::span("x", 1)), 5000));
    }
    const Outcome bad = drupe({"system", "verify"});
    EXPECT_EQ(bad.code, 1);
    EXPECT_THAT(bad.out, HasSubstr("DAMAGED layer sha256:" + layer.filename().string()));
    EXPECT_THAT(bad.out, HasSubstr("busybox:latest"));
    EXPECT_THAT(bad.out, HasSubstr("1 damaged"));

    EXPECT_THAT(drupe({"system", "prune"}, "n\n").out, HasSubstr("[y/N]"));
    EXPECT_EQ(lines(drupe({"ps", "-aq"}).out).size(), 2U);
    const Outcome pruned = drupe({"system", "prune", "-af"});
    EXPECT_EQ(pruned.code, 0) << pruned.err;
    EXPECT_THAT(pruned.out, HasSubstr("Deleted Containers:\n"));
    EXPECT_THAT(pruned.out, HasSubstr("Deleted Images:\n"));
    EXPECT_TRUE(std::regex_search(pruned.out, std::regex("Total reclaimed space: [0-9.]+[kM]B\n")))
        << pruned.out;
    EXPECT_EQ(drupe({"ps", "-aq"}).out, "");
    EXPECT_EQ(drupe({"system", "nonsense"}).code, 1);
}

TEST_F(CliTest, AFolderIsImportedAndRuns) {
    std::filesystem::create_directories(root_ + "/fs/bin");
    const Outcome imported = drupe({"import", root_ + "/fs", "mine"});
    EXPECT_EQ(imported.code, 0) << imported.err;
    EXPECT_THAT(imported.out, MatchesRegex("sha256:[0-9a-f]+\n"));
    EXPECT_EQ(drupe({"run", "--rm", "mine", "hello"}).out, "hello\n");
    EXPECT_EQ(drupe({"import", "/no/such/file", "x"}).code, 1);
    EXPECT_EQ(drupe({"load", "-i", root_ + "/fs"}).code, 1);
}

TEST_F(CliTest, ARootFileSystemIsImportedFromAPipe) {
    std::filesystem::create_directories(root_ + "/fs/bin");
    ASSERT_EQ(std::system(("tar -C " + root_ + "/fs -cf " + root_ + "/fs.tar .").c_str()), 0);
    const std::string tar = read_file(root_ + "/fs.tar", 1 << 20).value();
    const Outcome imported = drupe({"import", "-", "mine"}, tar);
    EXPECT_EQ(imported.code, 0) << imported.err;
    EXPECT_EQ(drupe({"run", "--rm", "mine", "hello"}).out, "hello\n");
    // Its importer reads what was piped, and finds no image in it; the copy is gone.
    EXPECT_THAT(drupe({"load"}, "no archive").err, Not(HasSubstr("No such file")));
    EXPECT_TRUE(std::filesystem::is_empty(root_ + "/tmp"));
}

TEST_F(CliTest, DoctorFailsForWhatIsMissingAndSaysWhatToDo) {
    ::setenv("DRUPE_KERNEL", "/no/such/kernel", 1);
    const Outcome outcome = drupe({"doctor"});
    ::unsetenv("DRUPE_KERNEL");
    EXPECT_EQ(outcome.code, 1);
    EXPECT_THAT(outcome.out, HasSubstr("PROBLEM   /no/such/kernel can't be read"));
    EXPECT_THAT(outcome.out, HasSubstr("kernel: run kernel/build"));
    EXPECT_THAT(outcome.out, HasSubstr("importer     ok"));
}

TEST_F(CliTest, TimingNamesThePhases) {
    const Outcome outcome = drupe({"run", "--rm", "--timing", "busybox", "hello"});
    EXPECT_EQ(outcome.out, "hello\n");
    EXPECT_THAT(outcome.err, HasSubstr("image open"));
    EXPECT_THAT(outcome.err, HasSubstr("total"));
}

TEST_F(CliTest, TwentyRunsAtOnceAllReturnTheirOwnCode) {
    ASSERT_EQ(drupe({"run", "--rm", "busybox", "exit", "0"}).code, 0);
    const Fd null = open_file("/dev/null", O_RDWR).value();
    std::vector<pid_t> children;
    children.reserve(20);
    for (int i = 0; i < 20; ++i) {
        children.push_back(start({"run", "--rm", "busybox", "exit", std::to_string(i)}, null.get(),
                                 null.get(), STDERR_FILENO));
    }
    for (int i = 0; i < 20; ++i) EXPECT_EQ(code_of(children[static_cast<size_t>(i)]), i);
    EXPECT_EQ(drupe({"ps", "-aq"}).out, "");
}

}  // namespace
}  // namespace drupe::cli
