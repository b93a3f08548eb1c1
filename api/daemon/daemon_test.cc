// The daemon's parts that need no engine.

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "api/daemon/ends.h"
#include "api/daemon/events.h"
#include "api/daemon/execs.h"
#include "api/daemon/networks.h"
#include "api/daemon/pending_streams.h"
#include "api/daemon/stream_pump.h"
#include "api/daemon/volumes.h"

namespace drupe::daemon {
namespace {

bool readable(int fd) {
    pollfd poll{fd, POLLIN, 0};
    return ::poll(&poll, 1, 0) == 1;
}

TEST(EndsTest, WaitersSeeTheirContainersEndAndRemoval) {
    Ends ends;
    const auto mine = ends.watch("a").value();
    const auto other = ends.watch("b").value();
    ends.ended("a", {3, "why"});
    EXPECT_TRUE(readable(mine->event_fd()));
    EXPECT_FALSE(readable(other->event_fd()));
    EXPECT_EQ(mine->end()->exit_code, 3u);
    EXPECT_EQ(mine->end()->error, "why");
    EXPECT_FALSE(mine->removed());
    ends.removed("a");
    EXPECT_TRUE(mine->removed());
    EXPECT_FALSE(other->removed());
    EXPECT_EQ(ends.last("a")->exit_code, 3u);
    EXPECT_FALSE(ends.last("b"));
}

TEST(EndsTest, TheLastEndsAreKeptForThoseWhoComeLate) {
    Ends ends;
    for (uint32_t i = 0; i < 300; ++i) ends.ended(std::to_string(i), {i, ""});
    ends.ended("299", {7, ""});
    EXPECT_FALSE(ends.last("0"));
    EXPECT_EQ(ends.last("298")->exit_code, 298u);
    EXPECT_EQ(ends.last("299")->exit_code, 7u);
}

TEST(EventsTest, SubscribersHearWhatComesAndThePastTheyAskFor) {
    Events events;
    events.publish({"container", "create", "1", {}, 0});
    const auto future = events.subscribe(std::nullopt).value();
    const auto past = events.subscribe(0).value();
    EXPECT_FALSE(future->next());
    EXPECT_EQ(past->next()->action, "create");
    events.publish({"container", "start", "1", {}, 0});
    EXPECT_TRUE(readable(future->event_fd()));
    EXPECT_EQ(future->next()->action, "start");
    EXPECT_EQ(past->next()->action, "start");
    EXPECT_FALSE(past->next());
}

TEST(EventsTest, WhoDoesNotReadIsCutOffAndHoldsNothing) {
    Events events;
    const auto slow = events.subscribe(std::nullopt).value();
    for (size_t i = 0; i <= Events::kMaxQueued; ++i) events.publish({"image", "pull", "", {}, 0});
    EXPECT_TRUE(slow->overrun());
    size_t kept = 0;
    while (slow->next()) ++kept;
    EXPECT_EQ(kept, Events::kMaxQueued);
}

ExecConfig exec_in(const std::string& container) {
    ExecConfig config;
    config.container = container;
    config.argv = {"true"};
    return config;
}

TEST(ExecsTest, AnExecIsStartedOnce) {
    Execs execs;
    const std::string id = execs.add(exec_in("c")).value().id;
    EXPECT_EQ(id.size(), 64u);
    EXPECT_TRUE(execs.begin(id));
    const auto again = execs.begin(id);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, ErrorCode::kConflict);
    execs.runs(id, 7);
    EXPECT_EQ(execs.of_container("c"), std::vector<std::string>{id});
    execs.ended(id, 4);
    EXPECT_FALSE(execs.find(id).value().running);
    EXPECT_EQ(execs.find(id).value().exit_code, 4u);
    execs.drop_container("c");
    EXPECT_EQ(execs.find(id).error().code, ErrorCode::kNotFound);
}

TEST(ExecsTest, OldOnesMakeRoomButNotThoseThatRun) {
    Execs execs;
    const std::string runs = execs.add(exec_in("c")).value().id;
    execs.runs(runs, 1);
    const std::string old = execs.add(exec_in("c")).value().id;
    for (size_t i = 2; i <= Execs::kMax; ++i) ASSERT_TRUE(execs.add(exec_in("c")));
    EXPECT_TRUE(execs.find(runs));
    EXPECT_FALSE(execs.find(old));
}

TEST(PendingStreamsTest, AStartTakesThemAndAClientThatGoesTakesItsOwn) {
    PendingStreams pending;
    const auto add = [&](const std::string& id) {
        FdPair pipe = make_pipe().value();
        control::Stdio stdio;
        stdio.stdout_fd = std::move(pipe.second);
        return std::make_pair(pending.add(id, std::move(stdio)), std::move(pipe.first));
    };
    auto first = add("a");
    auto second = add("a");
    auto other = add("b");
    first.first.reset();  // its client has gone: nobody writes to its pipe any more
    char byte = 0;
    EXPECT_EQ(::read(first.second.get(), &byte, 1), 0);
    EXPECT_EQ(pending.take("a").size(), 1u);
    EXPECT_EQ(pending.take("a").size(), 0u);
    EXPECT_EQ(pending.take("b").size(), 1u);
}

/// A pump with a client, and the program's ends.
struct Pumped {
    Fd client;
    control::Stdio program;
    StreamPump::End end{};
    std::thread thread;

    Pumped(bool framed, const std::string& keys, std::string early = "") {
        StreamPipes pipes = make_stream_pipes(true, true, framed).value();
        program = std::move(pipes.theirs);
        FdPair pair = make_socketpair(SOCK_STREAM).value();
        client = std::move(pair.first);
        thread = std::thread([this, pump = std::move(pipes.pump), server = std::move(pair.second),
                              framed, keys, early = std::move(early)]() mutable {
            pump.client = server.get();
            pump.framed = framed;
            pump.detach_keys = keys;
            pump.early = std::move(early);
            end = pump.run();
        });
    }
    ~Pumped() {
        if (thread.joinable()) thread.join();
    }
    static std::string read(int fd, size_t size) {
        std::string text(size, '\0');
        size_t at = 0;
        while (at < size) {
            const ssize_t n = ::read(fd, text.data() + at, size - at);
            if (n <= 0) break;
            at += static_cast<size_t>(n);
        }
        text.resize(at);
        return text;
    }
    static void write(int fd, std::string_view text) {
        ASSERT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    }
};

TEST(StreamPumpTest, FramesOutputAndPassesInput) {
    Pumped pumped(true, "", "early ");
    Pumped::write(pumped.client.get(), "typed");
    EXPECT_EQ(Pumped::read(pumped.program.stdin_fd.get(), 11), "early typed");
    Pumped::write(pumped.program.stdout_fd.get(), "out");
    EXPECT_EQ(Pumped::read(pumped.client.get(), 11), std::string("\1\0\0\0\0\0\0\3out", 11));
    Pumped::write(pumped.program.stderr_fd.get(), "err!");
    EXPECT_EQ(Pumped::read(pumped.client.get(), 12), std::string("\2\0\0\0\0\0\0\4err!", 12));
    // A half-closed client still hears.
    ::shutdown(pumped.client.get(), SHUT_WR);
    EXPECT_EQ(Pumped::read(pumped.program.stdin_fd.get(), 1), "");
    Pumped::write(pumped.program.stdout_fd.get(), "end");
    pumped.program = {};
    EXPECT_EQ(Pumped::read(pumped.client.get(), 11), std::string("\1\0\0\0\0\0\0\3end", 11));
    pumped.thread.join();
    EXPECT_EQ(pumped.end, StreamPump::End::kOutputEnded);
}

TEST(StreamPumpTest, ATerminalIsRawAndCanBeLeft) {
    Pumped pumped(false, "\x10\x11");
    Pumped::write(pumped.program.stdout_fd.get(), "$ ");
    EXPECT_EQ(Pumped::read(pumped.client.get(), 2), "$ ");
    Pumped::write(pumped.client.get(), "ls\x10");
    EXPECT_EQ(Pumped::read(pumped.program.stdin_fd.get(), 2), "ls");
    Pumped::write(pumped.client.get(), "\x11");
    pumped.thread.join();
    EXPECT_EQ(pumped.end, StreamPump::End::kDetached);
}

TEST(StreamPumpTest, AClientThatGoesEndsIt) {
    Pumped pumped(true, "");
    pumped.client.reset();
    pumped.thread.join();
    EXPECT_EQ(pumped.end, StreamPump::End::kClientGone);
}

TEST(StreamPumpTest, MuchGoesBothWaysAtOnce) {
    constexpr size_t kBytes = 4 << 20;
    Pumped pumped(false, "");
    // The program echoes; the client writes all before it reads anything but what it must.
    std::thread program([&] {
        std::string buffer(1 << 16, '\0');
        for (;;) {
            const ssize_t n = ::read(pumped.program.stdin_fd.get(), buffer.data(), buffer.size());
            if (n <= 0) break;
            Pumped::write(pumped.program.stdout_fd.get(), {buffer.data(), static_cast<size_t>(n)});
        }
        pumped.program.stdout_fd.reset();
    });
    std::thread reader(
        [&] { EXPECT_EQ(Pumped::read(pumped.client.get(), kBytes + 1).size(), kBytes); });
    const std::string block(1 << 16, 'x');
    for (size_t sent = 0; sent < kBytes; sent += block.size())
        Pumped::write(pumped.client.get(), block);
    ::shutdown(pumped.client.get(), SHUT_WR);
    program.join();
    pumped.thread.join();
    ::shutdown(pumped.client.get(), SHUT_RD);
    reader.join();
}

/// A database of its own.
class StoreTest : public ::testing::Test {
  protected:
    StoreTest() : db_(imagefs::Database::open(folder_ + "/test.db").value()) {}
    ~StoreTest() override {
        const std::string remove = "rm -rf " + folder_;
        EXPECT_EQ(std::system(remove.c_str()), 0);
    }
    static std::string make_folder() {
        char path[] = "/tmp/drupe-daemon-test-XXXXXX";
        return ::mkdtemp(path);
    }
    std::string folder_ = make_folder();
    imagefs::Database db_;
};

TEST_F(StoreTest, NetworksAreFoundByNameIdAndPrefix) {
    auto networks = Networks::open(db_).value();
    EXPECT_EQ(networks.list().value().size(), 3u);
    EXPECT_EQ(networks.find("bridge").value().gateway, "172.17.0.1");
    Network mine;
    mine.name = "mine";
    mine.labels["a"] = "b";
    ASSERT_TRUE(networks.create(mine));
    EXPECT_EQ(mine.subnet, "172.18.0.0/16");
    EXPECT_EQ(networks.find(mine.id.substr(0, 12)).value().labels.at("a"), "b");
    Network again;
    again.name = "mine";
    EXPECT_EQ(networks.create(again).error().code, ErrorCode::kConflict);
    EXPECT_EQ(networks.remove(networks.find("none").value()).error().code, ErrorCode::kDenied);
    ASSERT_TRUE(networks.remove(mine));
    EXPECT_EQ(networks.find("mine").error().message, "network mine not found");
}

TEST_F(StoreTest, ANetworksSubnetAndGatewayAreAddresses) {
    auto networks = Networks::open(db_).value();
    const auto create = [&](const std::string& name, const std::string& subnet,
                            const std::string& gateway) {
        Network network;
        network.name = name;
        network.subnet = subnet;
        network.gateway = gateway;
        return networks.create(network);
    };
    EXPECT_TRUE(create("v4", "10.1.2.0/24", "10.1.2.254"));
    EXPECT_TRUE(create("v6", "fd00:1::/64", "fd00:1::1"));
    EXPECT_TRUE(create("one", "10.9.9.9/32", "10.9.9.9"));
    for (const char* bad : {"none", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1",
                            "10.0.0.0/8x", "10.0.0/8", "/8", "fd00::/129"}) {
        const Status made = create("bad", bad, "");
        ASSERT_FALSE(made) << bad;
        EXPECT_EQ(made.error().code, ErrorCode::kInvalid);
        EXPECT_EQ(made.error().message, "invalid network config:\ninvalid subnet " +
                                            std::string(bad) + ": invalid CIDR block notation");
    }
    EXPECT_EQ(create("bad", "10.0.0.1/8", "").error().code, ErrorCode::kInvalid);
    EXPECT_EQ(create("bad", std::string("10.0.0.0\0/8", 11), "").error().code, ErrorCode::kInvalid);
    for (const char* gateway : {"zz", "10.1.3.1", "fd00::1", "10.1.2.1/24"}) {
        EXPECT_EQ(create("bad", "10.1.2.0/24", gateway).error().code, ErrorCode::kInvalid)
            << gateway;
    }
    EXPECT_EQ(create("bad", "", "10.0.0.1").error().code, ErrorCode::kInvalid);
    EXPECT_EQ(networks.find("bad").error().code, ErrorCode::kNotFound);
}

TEST_F(StoreTest, VolumesAreFoldersWithGoodNames) {
    auto volumes = Volumes::open(db_, folder_).value();
    const Volume made = volumes.create("data", {{"a", "b"}}).value();
    EXPECT_TRUE(made.is_new);
    EXPECT_FALSE(volumes.create("data", {}).value().is_new);
    EXPECT_EQ(::access(made.mountpoint.c_str(), F_OK), 0);
    EXPECT_EQ(volumes.create("data", {}).value().labels.at("a"), "b");
    EXPECT_EQ(volumes.create("", {}).value().name.size(), 64u);
    for (const char* bad : {"../x", "a/b", ".x", "x", "a b"}) {
        EXPECT_EQ(volumes.create(bad, {}).error().code, ErrorCode::kInvalid) << bad;
    }
    ASSERT_TRUE(volumes.remove("data"));
    EXPECT_NE(::access(made.mountpoint.c_str(), F_OK), 0);
    EXPECT_EQ(volumes.find("data").error().message, "get data: no such volume");
}

}  // namespace
}  // namespace drupe::daemon
