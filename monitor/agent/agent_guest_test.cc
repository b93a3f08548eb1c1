// Both ends of the protocol for real: AgentSession against drupe-init in a scratch guest.

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <list>
#include <random>

#include "guest-init/scratch_guest.h"
#include "monitor/agent/agent_session.h"
#include "monitor/agent/test_host.h"

namespace drupe::agent {
namespace {

using protocol::Start;
using protocol::Stream;
using std::chrono::seconds;

Start program(uint32_t session, std::vector<std::string> argv) {
    Start start;
    start.session = session;
    start.argv = std::move(argv);
    start.env = {"PATH=/bin"};
    return start;
}
Start shell(uint32_t session, const std::string& script) {
    return program(session, {"sh", "-c", script});
}

class AgentGuest : public testing::Test {
  protected:
    void SetUp() override {
        if (::geteuid() != 0) FAIL() << "namespaces need root";
        auto guest = init::ScratchGuest::start();
        ASSERT_TRUE(guest) << guest.error().message;
        guest_ = std::move(guest).value();
        host_ = std::make_unique<LoopThread>();
        host_->run([this] {
            agent_ = make_agent_session(
                host_->loop(),
                [this](uint32_t port) -> Result<Fd> {
                    EXPECT_EQ(port, protocol::kStreamPort);
                    TRY_ASSIGN(Fd fd, guest_->connect_stream());
                    TRY_ASSIGN(Fd copy, fd.duplicate());
                    stream_copies_.push_back(std::move(copy));
                    return fd;
                },
                record_into(reported_));
            accept_watch_ = host_->loop().on_readable(guest_->broker(), [this] { accept(); });
        });
        ASSERT_TRUE(reported_.wait([](const Reported& r) { return r.hellos == 1; }));
    }
    void TearDown() override {
        if (!host_) return;
        host_->run([this] {
            accept_watch_.reset();
            streams_.clear();
            inputs_.clear();
            agent_.reset();
        });
        host_->stop();
    }

    void accept() {
        auto control = guest_->accept_control();
        if (!control) return accept_watch_.reset();
        auto copy = control.value().duplicate();
        ASSERT_TRUE(copy);
        const Status attached = agent_->attach(std::move(control).value());
        // A guest may be quicker to connect anew than its session is to see the loss: it is hung up
        // on, and comes again.
        if (attached) control_copy_ = std::move(copy).value();
    }
    /// The answer: errno (0: success) and the guest's words.
    std::pair<int, std::string> order(const Order& order, seconds time = seconds(20)) {
        std::promise<Status> answer;
        const Status sent = host_->run([&] {
            return agent_->order(order, time, [&](Status s) { answer.set_value(std::move(s)); });
        });
        if (!sent) return {-1, sent.error().message};
        const Status status = answer.get_future().get();
        if (status) return {0, ""};
        return {status.error().os_errno, status.error().message};
    }
    /// Reads at most room bytes, until the stream is resumed.
    Collector& read(uint32_t session, Stream stream, size_t room = SIZE_MAX) {
        Collector& into = collectors_.emplace_back();
        into.set_room(room);
        host_->run([&] {
            auto opened = agent_->open_output(session, stream, 0, into);
            ASSERT_TRUE(opened);
            streams_.push_back(std::move(opened).value());
        });
        return into;
    }
    protocol::Exited exit_of(uint32_t session) {
        EXPECT_TRUE(reported_.wait([&](const Reported& r) { return r.exits.count(session) != 0; }));
        return reported_.get().exits[session];
    }
    void start_sleeping_workload() {
        ASSERT_EQ(order(protocol::Root{}), std::pair(0, std::string()));
        ASSERT_EQ(order(shell(1, "trap 'exit 9' TERM; while :; do sleep 0.05; done")),
                  std::pair(0, std::string()));
    }
    /// Output and exit status of a whole exec.
    std::pair<std::string, int> exec(const Start& start) {
        const auto answer = order(start);
        if (answer.first != 0) return {answer.second, -answer.first};
        const std::string text = read(start.session, Stream::kStdout).whole();
        host_->run([this] { streams_.pop_back(); });
        collectors_.pop_back();
        const int status = exit_of(start.session).status;
        EXPECT_EQ(order(protocol::Forget{.session = start.session}).first, 0);
        return {text, status};
    }
    void break_control() {
        host_->run([this] { ::shutdown(control_copy_.get(), SHUT_RDWR); });
    }
    void break_streams() {
        host_->run([this] {
            for (const Fd& fd : stream_copies_) ::shutdown(fd.get(), SHUT_RDWR);
            stream_copies_.clear();
        });
    }

    std::list<Collector> collectors_;
    Watched<Reported> reported_;
    std::unique_ptr<init::ScratchGuest> guest_;
    std::unique_ptr<LoopThread> host_;
    std::unique_ptr<AgentSession> agent_;
    EventLoop::Watch accept_watch_;
    Fd control_copy_;
    std::vector<Fd> stream_copies_;
    std::vector<std::unique_ptr<OutputStream>> streams_;
    std::vector<std::unique_ptr<InputStream>> inputs_;
};

TEST_F(AgentGuest, TheWorkloadIsPidOneAndItsStreamsStayApart) {
    ASSERT_EQ(order(protocol::Root{}).first, 0);
    ASSERT_EQ(order(shell(1, "echo out $$; echo err >&2; exit 3")).first, 0);
    Collector& out = read(1, Stream::kStdout);
    Collector& err = read(1, Stream::kStderr);

    EXPECT_EQ(out.whole(), "out 1\n");
    EXPECT_EQ(err.whole(), "err\n");
    const auto exited = exit_of(1);
    EXPECT_EQ(exited.status, 3);
    EXPECT_EQ(exited.signal, 0);
    EXPECT_FALSE(exited.oom_killed);
}

TEST_F(AgentGuest, ProgramsThatCantRunAreNamedWithTheirErrno) {
    start_sleeping_workload();
    using Answer = std::pair<int, std::string>;
    EXPECT_EQ(order(program(2, {"nosuch"})),
              Answer(ENOENT, "exec: \"nosuch\": executable file not found in $PATH"));
    EXPECT_EQ(order(program(2, {"/etc/passwd"})),
              Answer(EACCES, "exec: \"/etc/passwd\": permission denied"));
    EXPECT_EQ(order(program(2, {"/etc"})), Answer(EISDIR, "exec: \"/etc\": is a directory"));
    EXPECT_EQ(order(program(2, {"/bin/no-interpreter"})),
              Answer(ENOENT, "exec /bin/no-interpreter: no such file or directory"));
    EXPECT_EQ(order(program(2, {"/bin/garbage"})),
              Answer(ENOEXEC, "exec /bin/garbage: exec format error"));
    Start nobody = shell(2, "true");
    nobody.user = "mallory";
    EXPECT_EQ(order(nobody),
              Answer(EINVAL, "unable to find user mallory: no matching entries in passwd file"));
    EXPECT_EQ(exec(shell(2, "echo fine")).first, "fine\n");
}

TEST_F(AgentGuest, AThousandQuickExecsLoseNothing) {
    start_sleeping_workload();
    for (uint32_t i = 0; i < 1000; ++i) {
        const std::string text = "line " + std::to_string(i);
        const auto [output, status] = exec(program(2 + i, {"echo", text}));
        ASSERT_EQ(output, text + "\n");
        ASSERT_EQ(status, 0);
    }
}

TEST_F(AgentGuest, ABurstAtTheEndIsWhole) {
    start_sleeping_workload();
    const auto [output, status] = exec(shell(2, "seq 1 100000"));
    EXPECT_EQ(status, 0);
    EXPECT_EQ(output.size(), 588895U);
    EXPECT_EQ(output.substr(output.size() - 14), "\n99999\n100000\n");
}

TEST_F(AgentGuest, BytesGoThroughStdinAndComeBackTheSame) {
    start_sleeping_workload();
    Start cat = program(2, {"cat"});
    cat.stdin_open = true;
    ASSERT_EQ(order(cat).first, 0);
    std::string sent(8 << 20, '\0');
    std::mt19937 random(1);  // NOLINT: the same each time
    for (char& c : sent) c = static_cast<char>(random());
    size_t written = 0;
    InputStream* input = nullptr;
    const auto write_more = [&] {
        written += input->write(std::string_view(sent).substr(written));
        if (written == sent.size()) input->close();
    };
    Watched<bool> delivered;
    Collector& out = read(2, Stream::kStdout);

    host_->run([&] {
        auto opened = agent_->open_input(
            2, {.on_room = write_more, .on_end = [&](const Status& status) {
                    delivered.change([&](bool& value) { value = static_cast<bool>(status); });
                }});
        ASSERT_TRUE(opened);
        input = opened.value().get();
        inputs_.push_back(std::move(opened).value());
        write_more();
    });

    const std::string back = out.whole();
    EXPECT_EQ(back.size(), sent.size());
    EXPECT_TRUE(back == sent);
    EXPECT_TRUE(delivered.wait([](bool value) { return value; }));
    EXPECT_EQ(exit_of(2).status, 0);
}

TEST_F(AgentGuest, LostStreamConnectionsLoseAndRepeatNothing) {
    start_sleeping_workload();
    ASSERT_EQ(
        order(shell(2, "i=0; while [ $i -lt 60 ]; do seq 1 3000; i=$((i+1)); sleep 0.01; done"))
            .first,
        0);
    Collector& out = read(2, Stream::kStdout);
    for (int i = 0; i < 5; ++i) {
        const size_t before = out.state().get().bytes.size();
        ASSERT_TRUE(out.state().wait(
            [&](const auto& state) { return state.bytes.size() > before || state.ended; }));
        break_streams();
    }
    std::string expected;
    for (int i = 1; i <= 3000; ++i) expected += std::to_string(i) + "\n";
    std::string whole;
    for (int i = 0; i < 60; ++i) whole += expected;
    EXPECT_TRUE(out.whole() == whole);
}

TEST_F(AgentGuest, AnExitDuringALostControlConnectionIsReportedAfterwards) {
    start_sleeping_workload();
    ASSERT_EQ(order(shell(2, "sleep 0.05; exit 42")).first, 0);
    break_control();
    ASSERT_TRUE(reported_.wait([](const Reported& r) { return r.losses == 1; }));
    ASSERT_TRUE(reported_.wait([](const Reported& r) { return r.hellos == 2; }));

    EXPECT_EQ(exit_of(2).status, 42);
    // Announced again, reported once.
    break_control();
    ASSERT_TRUE(reported_.wait([](const Reported& r) { return r.hellos == 3; }));
    EXPECT_EQ(exec(shell(3, "echo ok")).first, "ok\n");
    EXPECT_EQ(reported_.get().exit_calls, 2);
}

TEST_F(AgentGuest, ASlowReaderStopsItsWriterAndNobodyElse) {
    start_sleeping_workload();
    ASSERT_EQ(order(shell(2, "seq 1 200000; exit 5")).first, 0);
    Collector& slow = read(2, Stream::kStdout, 1000);
    ASSERT_TRUE(slow.state().wait([](const auto& state) { return state.bytes.size() == 1000; }));

    EXPECT_EQ(exec(shell(3, "echo quick")).first, "quick\n");
    EXPECT_EQ(reported_.get().exits.count(2), 0U);  // blocked in write()
    host_->run([&] {
        slow.set_room(SIZE_MAX);
        streams_[0]->resume();
    });
    EXPECT_EQ(slow.whole().size(), 1288895U);
    EXPECT_EQ(exit_of(2).status, 5);
}

TEST_F(AgentGuest, ATtyHasTheSizeOfTheLastResize) {
    start_sleeping_workload();
    Start start = shell(2, "stty size; read x; stty size; tty");
    start.tty = true;
    start.stdin_open = true;
    start.rows = 24;
    start.columns = 80;
    ASSERT_EQ(order(start).first, 0);
    Collector& out = read(2, Stream::kStdout);
    ASSERT_TRUE(out.state().wait([](const auto& s) { return s.bytes == "24 80\r\n"; }));

    ASSERT_EQ(order(protocol::Resize{.session = 2, .rows = 50, .columns = 132}).first, 0);
    host_->run([&] {
        auto opened = agent_->open_input(2, {});
        ASSERT_TRUE(opened);
        EXPECT_EQ(opened.value()->write("\n"), 1U);
        inputs_.push_back(std::move(opened).value());
    });

    EXPECT_EQ(out.whole(), "24 80\r\n\r\n50 132\r\n/dev/pts/0\r\n");
    EXPECT_EQ(exit_of(2).status, 0);
}

TEST_F(AgentGuest, ControlCOnATtyInterrupts) {
    start_sleeping_workload();
    Start start = shell(2, "echo ready; sleep 100");
    start.tty = true;
    start.stdin_open = true;
    ASSERT_EQ(order(start).first, 0);
    Collector& out = read(2, Stream::kStdout);
    ASSERT_TRUE(out.state().wait([](const auto& s) { return s.bytes == "ready\r\n"; }));
    host_->run([&] {
        auto opened = agent_->open_input(2, {});
        ASSERT_TRUE(opened);
        EXPECT_EQ(opened.value()->write("\x03"), 1U);
        inputs_.push_back(std::move(opened).value());
    });
    EXPECT_EQ(exit_of(2).signal, SIGINT);
    EXPECT_EQ(exit_of(2).status, 130);
}

TEST_F(AgentGuest, AQuickTtyLosesNothing) {
    start_sleeping_workload();
    for (uint32_t i = 2; i < 102; ++i) {
        Start start = program(i, {"echo", "hello"});
        start.tty = true;
        ASSERT_EQ(exec(start).first, "hello\r\n");
    }
}

TEST_F(AgentGuest, SignalsReachTheSessionAndItsEndSaysWhich) {
    start_sleeping_workload();
    ASSERT_EQ(order(program(2, {"sleep", "100"})).first, 0);
    EXPECT_EQ(order(protocol::Signal{.session = 2, .signal = SIGKILL}).first, 0);
    EXPECT_EQ(exit_of(2).status, 137);
    EXPECT_EQ(exit_of(2).signal, SIGKILL);
    EXPECT_EQ(order(protocol::Signal{.session = 2, .signal = SIGTERM}).first, ESRCH);
    EXPECT_EQ(order(protocol::Signal{.session = 99, .signal = SIGTERM}).first, ESRCH);

    EXPECT_EQ(order(protocol::Signal{.session = 1, .signal = SIGTERM}).first, 0);
    EXPECT_EQ(exit_of(1).status, 9);  // its handler's
}

TEST_F(AgentGuest, TheEndOfTheWorkloadEndsAllSessions) {
    start_sleeping_workload();
    ASSERT_EQ(order(shell(2, "echo begun; sleep 100")).first, 0);
    Collector& out = read(2, Stream::kStdout);
    ASSERT_TRUE(out.state().wait([](const auto& s) { return !s.bytes.empty(); }));

    EXPECT_EQ(order(protocol::Signal{.session = 1, .signal = SIGKILL}).first, 0);

    EXPECT_EQ(exit_of(1).status, 137);
    EXPECT_EQ(exit_of(2).status, 137);
    EXPECT_EQ(out.whole(), "begun\n");
    EXPECT_EQ(order(shell(3, "true")).first, ESRCH);
}

TEST_F(AgentGuest, ADaemonisedGrandchildDoesntKeepASessionOpen) {
    start_sleeping_workload();
    const auto [output, status] = exec(shell(2, "setsid sleep 50 & echo done"));
    EXPECT_EQ(output, "done\n");
    EXPECT_EQ(status, 0);
    Start tty = shell(3, "setsid sleep 50 & echo done");
    tty.tty = true;
    EXPECT_EQ(exec(tty).first, "done\r\n");
}

TEST_F(AgentGuest, UsersDirectoriesLimitsAndMasksAreThoseOfTheOrder) {
    start_sleeping_workload();
    Start start = shell(2, "id; pwd; umask; ulimit -n; echo $HOME; echo x > /dev/stderr");
    start.user = "alice";
    start.cwd = "/home";
    start.umask = 027;
    start.limits = {{7, 99, 99}};
    EXPECT_EQ(exec(start).first,
              "uid=1000(alice) gid=1000(alice) groups=29(audio),1000(alice)\n"
              "/home\n0027\n99\n/home/alice\n");
    start.cwd = "/nosuch";
    start.session = 3;
    EXPECT_EQ(order(start).first, ENOENT);
}

TEST_F(AgentGuest, TheWorkloadsDirectoryIsMade) {
    ASSERT_EQ(order(protocol::Root{}).first, 0);
    Start start =
        shell(1, "pwd; ls -d /proc/1 /sys/kernel /dev/shm /tmp; [ -c /dev/null ] && echo ok");
    start.cwd = "/srv/deep";
    ASSERT_EQ(order(start).first, 0);
    Collector& out = read(1, Stream::kStdout);
    EXPECT_EQ(out.whole(), "/srv/deep\n/dev/shm\n/proc/1\n/sys/kernel\n/tmp\nok\n");
}

TEST_F(AgentGuest, AnIdentityIsSeenAndCanBeReplaced) {
    ASSERT_EQ(order(protocol::Root{}).first, 0);
    protocol::Identity identity;
    identity.host_name = "web";
    identity.hosts = {"10.9.8.7 web"};
    identity.resolv_conf = {"nameserver 10.0.0.1"};
    identity.machine_id = "0123456789abcdef0123456789abcdef";
    identity.entropy = std::string(64, 'e');
    ASSERT_EQ(order(identity), std::pair(0, std::string()));
    ASSERT_EQ(order(shell(1, "while :; do sleep 0.05; done")).first, 0);
    const std::string show =
        "hostname; cat /etc/hostname /etc/resolv.conf /etc/machine-id; grep web /etc/hosts";
    EXPECT_EQ(exec(shell(2, show)).first,
              "web\nweb\nnameserver 10.0.0.1\n0123456789abcdef0123456789abcdef\n10.9.8.7 web\n");

    identity.host_name = "db";
    identity.hosts = {"10.9.8.8 web db"};
    identity.machine_id = "ffffffffffffffffffffffffffffffff";
    ASSERT_EQ(order(identity).first, 0);
    EXPECT_EQ(exec(shell(3, show)).first,
              "db\ndb\nnameserver 10.0.0.1\nffffffffffffffffffffffffffffffff\n10.9.8.8 web db\n");
}

TEST_F(AgentGuest, OrdersAtTheWrongTimeAreRefused) {
    EXPECT_EQ(order(shell(1, "true")).first, EINVAL);
    EXPECT_EQ(order(protocol::Identity{}).first, EINVAL);
    ASSERT_EQ(order(protocol::Root{}).first, 0);
    EXPECT_EQ(order(protocol::Root{}).first, EEXIST);
    EXPECT_EQ(order(shell(2, "true")).first, ESRCH);
    ASSERT_EQ(order(shell(1, "while :; do sleep 0.05; done")).first, 0);
    EXPECT_EQ(order(shell(1, "true")).first, EEXIST);
    EXPECT_EQ(order(protocol::Forget{.session = 1}).first, EBUSY);
    EXPECT_EQ(order(protocol::Resize{.session = 1, .rows = 1, .columns = 1}).first, ENOTTY);
    EXPECT_NE(read(77, Stream::kStdout).whole().find("the guest refuses"), std::string::npos);
}

TEST_F(AgentGuest, AsManySessionsAsTheLimitLive) {
    start_sleeping_workload();
    for (uint32_t i = 2; i <= protocol::kMaxSessions; ++i)
        ASSERT_EQ(order(program(i, {"true"})).first, 0) << i;
    EXPECT_EQ(order(program(5000, {"true"})).first, -1);  // refused by the host, never sent
    (void)exit_of(2);
    ASSERT_EQ(order(protocol::Forget{.session = 2}).first, 0);
    EXPECT_EQ(order(program(5000, {"true"})).first, 0);
}

TEST_F(AgentGuest, ShutdownKillsReportsAndHalts) {
    start_sleeping_workload();
    ASSERT_EQ(order(program(2, {"sleep", "100"})).first, 0);

    EXPECT_EQ(order(protocol::Shutdown{}).first, 0);

    EXPECT_TRUE(reported_.wait([](const Reported& r) { return r.halted; }));
    EXPECT_EQ(exit_of(1).status, 137);
    EXPECT_EQ(exit_of(2).status, 137);
    EXPECT_EQ(guest_->wait(), 0);
}

TEST_F(AgentGuest, CapabilitiesAreThoseOfTheOrderForRootAndNoneForOthers) {
    start_sleeping_workload();
    const std::string script = "grep -E 'Cap(Inh|Prm|Eff|Bnd)' /proc/self/status | sed 's/.*\t//'";
    Start root = shell(2, script);
    root.capabilities = 0x421;
    EXPECT_EQ(exec(root).first,
              "0000000000000000\n0000000000000421\n0000000000000421\n0000000000000421\n");
    Start alice = shell(3, script);
    alice.capabilities = 0x421;
    alice.user = "alice";
    EXPECT_EQ(exec(alice).first,
              "0000000000000000\n0000000000000000\n0000000000000000\n0000000000000421\n");
    Start all = shell(4, "mount -t tmpfs x /home && echo mounted");
    EXPECT_EQ(exec(all).first, "mounted\n");
    all.session = 5;
    all.capabilities = 0x421;
    EXPECT_EQ(exec(all).first, "");
}

TEST_F(AgentGuest, AWorkloadHasItsTmpfsMountsSharedMemoryAndSysctls) {
    ASSERT_EQ(order(protocol::Root{}).first, 0);
    Start start = shell(1, "while :; do sleep 0.05; done");
    start.shm_bytes = 3 << 20;
    start.tmpfs = {{"/mnt/deep", MS_NOSUID | MS_NOEXEC, "size=65536,mode=700"},
                   {"/home", MS_RDONLY, "size=65536"}};
    start.sysctls = {"net/ipv4/ip_default_ttl=77"};
    ASSERT_EQ(order(start), std::pair(0, std::string()));
    const std::string mounts = exec(shell(2, "grep -E '/mnt|/home|/shm' /proc/mounts")).first;
    EXPECT_NE(mounts.find("/dev/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=3072k"),
              std::string::npos)
        << mounts;
    EXPECT_NE(mounts.find("tmpfs /mnt/deep tmpfs rw,nosuid,noexec,relatime,size=64k,mode=700"),
              std::string::npos)
        << mounts;
    EXPECT_NE(mounts.find("tmpfs /home tmpfs ro,"), std::string::npos) << mounts;
    EXPECT_EQ(exec(shell(3, "ls -ld /home | head -c 10; cat /proc/sys/net/ipv4/ip_default_ttl")),
              std::pair(std::string("drwxr-xr-x77\n"), 0));
}

TEST_F(AgentGuest, WhatCantBeSetUpForAWorkloadIsNamed) {
    ASSERT_EQ(order(protocol::Root{}).first, 0);
    Start start = shell(1, "true");
    start.sysctls = {"kernel/no_such=1"};
    EXPECT_EQ(order(start),
              std::pair(EINVAL, std::string("sysctl kernel/no_such: the guest's kernel has none")));
}

TEST_F(AgentGuest, ATmpfsWithABadOptionIsNamed) {
    ASSERT_EQ(order(protocol::Root{}).first, 0);
    Start start = shell(1, "true");
    start.tmpfs = {{"/run", 0, "bogus=1"}};
    const auto answer = order(start);
    EXPECT_EQ(answer.first, EINVAL);
    EXPECT_NE(answer.second.find("mount tmpfs /run (bogus=1)"), std::string::npos) << answer.second;
}

TEST_F(AgentGuest, AnInitIsTheWorkloadsParentReapsAndForwardsSignals) {
    ASSERT_EQ(order(protocol::Root{}).first, 0);
    Start start = shell(1,
                        "trap 'echo got it; exit 7' USR1; echo pid $$ of $PPID; "
                        "while :; do sleep 0.05; done");
    start.init = true;
    ASSERT_EQ(order(start), std::pair(0, std::string()));
    Collector& out = read(1, Stream::kStdout);
    ASSERT_TRUE(out.state().wait([](const Collector::State& state) {
        return state.bytes.find("of 1\n") != std::string::npos;
    }));
    EXPECT_EQ(order(protocol::Signal{1, SIGUSR1, false}).first, 0);
    EXPECT_EQ(exit_of(1).status, 7);
    EXPECT_NE(out.whole().find("got it"), std::string::npos);
}

class AgentGuestInit : public AgentGuest, public testing::WithParamInterface<bool> {};

TEST_P(AgentGuestInit, OrphansStayZombiesUnlessThereIsAnInit) {
    ASSERT_EQ(order(protocol::Root{}).first, 0);
    // sleep(1) waits for nobody.
    Start start = shell(1, "(sleep 0.1 &); exec sleep 100");
    start.init = GetParam();
    ASSERT_EQ(order(start), std::pair(0, std::string()));
    const auto zombies = exec(shell(2, "sleep 1; grep -l '^State:.Z' /proc/[0-9]*/status"));
    EXPECT_EQ(zombies.first.empty(), GetParam()) << zombies.first;
}
INSTANTIATE_TEST_SUITE_P(WithAndWithout, AgentGuestInit, testing::Bool());

TEST_F(AgentGuest, AnInitPassesOnWhyAProgramCantRunAndWhichSignalEndedIt) {
    ASSERT_EQ(order(protocol::Root{}).first, 0);
    Start start = shell(1, "kill -KILL $$");
    start.init = true;
    ASSERT_EQ(order(start).first, 0);
    EXPECT_EQ(exit_of(1).status, 128 + SIGKILL);
}

TEST_F(AgentGuest, AnInitsProgramThatIsNoneIsAnErrorOfTheStart) {
    ASSERT_EQ(order(protocol::Root{}).first, 0);
    Start start = program(1, {"/bin/garbage"});
    start.init = true;
    EXPECT_EQ(order(start).first, ENOEXEC);
}

TEST_F(AgentGuest, ItsProcessesAreListedWithoutTheOneThatLists) {
    start_sleeping_workload();
    Start sleeper = program(2, {"sleep", "77"});
    sleeper.user = "alice";
    ASSERT_EQ(order(sleeper).first, 0);
    Start list = program(3, {"all"});
    list.builtin = protocol::Builtin::kProcesses;
    const auto processes = protocol::decode<protocol::ProcessList>(exec(list).first);
    ASSERT_TRUE(processes);
    ASSERT_GE(processes->processes.size(), 2U);
    EXPECT_EQ(processes->processes[0].pid, 1U);
    EXPECT_EQ(processes->processes[0].user, "root");
    const auto& last = *std::find_if(processes->processes.begin(), processes->processes.end(),
                                     [](const auto& p) { return p.arguments == "sleep 77"; });
    EXPECT_EQ(last.user, "alice");
    EXPECT_EQ(last.uid, 1000U);
    for (const auto& process : processes->processes) EXPECT_NE(process.arguments, "all");
}

TEST_F(AgentGuest, LimitsNeedAWorkloadAndItsUsageIsTold) {
    ASSERT_EQ(order(protocol::Root{}).first, 0);
    EXPECT_EQ(order(protocol::Limits{0, 0}).first, ESRCH);
    ASSERT_EQ(order(shell(1, "while :; do sleep 0.05; done")).first, 0);
    Start usage = program(2, {"usage"});
    usage.builtin = protocol::Builtin::kUsage;
    EXPECT_TRUE(protocol::decode<protocol::Usage>(exec(usage).first));
}

}  // namespace
}  // namespace drupe::agent
