#include "monitor/control_server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <thread>
#include <vector>

#include "monitor/control_client.h"

namespace drupe {
namespace {

class ControlServerTest : public testing::Test {
  protected:
    void SetUp() override {
        path_ = testing::TempDir() + "drupe-control-" + std::to_string(::getpid());
        ::unlink(path_.c_str());
        Fd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path_.c_str(), path_.size());
        ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        server_ = std::move(ControlServer::create(
                                *loop_, std::move(listener),
                                [this](control::Request request, ControlServer::Answer answer) {
                                    handle(request, std::move(answer));
                                }))
                      .value();
        thread_ = std::thread([this] { loop_->run(); });
    }
    void TearDown() override {
        loop_->stop();
        thread_.join();
        server_.reset();
        ::unlink(path_.c_str());
    }
    void handle(const control::Request& request, ControlServer::Answer answer) {
        if (request.op == control::Op::kWait) {
            waiting_.push_back(
                std::move(answer));  // answered out of order, by the next status request
            return;
        }
        for (auto& waiter : waiting_) {
            control::Reply reply;
            reply.exit = control::ExitStatus{7, 0, false};
            waiter(reply);
        }
        waiting_.clear();
        control::Reply reply;
        reply.machine = control::MachineStatus{"running", 0, "", {}};
        answer(reply);
    }

    std::string path_;
    std::unique_ptr<EventLoop> loop_ = make_event_loop();
    std::unique_ptr<ControlServer> server_;
    std::vector<ControlServer::Answer> waiting_;
    std::thread thread_;
};

constexpr std::chrono::milliseconds kPatience{5000};

TEST_F(ControlServerTest, RepliesFindTheirRequestsOutOfOrder) {
    ControlClient client = std::move(ControlClient::connect(path_)).value();
    control::Request wait;
    wait.op = control::Op::kWait;
    const auto wait_id = client.send(std::move(wait));
    ASSERT_TRUE(wait_id);
    const auto status = client.call({}, kPatience);
    ASSERT_TRUE(status) << status.error().message;
    EXPECT_EQ(status.value().machine->state, "running");
    const auto exit = client.receive(wait_id.value(), kPatience);
    ASSERT_TRUE(exit);
    EXPECT_EQ(exit.value().exit->status, 7U);
}

TEST_F(ControlServerTest, AClientThatBreaksTheProtocolIsHungUpOnAndOthersAreNot) {
    ControlClient good = std::move(ControlClient::connect(path_)).value();
    ControlClient bad = std::move(ControlClient::connect(path_)).value();
    ASSERT_EQ(::send(bad.fd(), "nonsense", 8, 0), 8);
    EXPECT_FALSE(bad.receive(1, kPatience));
    EXPECT_TRUE(good.call({}, kPatience));
}

TEST_F(ControlServerTest, AFloodOfRequestsWithoutRepliesEndsInAHangUp) {
    ControlClient client = std::move(ControlClient::connect(path_)).value();
    for (size_t i = 0; i <= control::kMaxPendingRequests; ++i) {
        control::Request wait;
        wait.op = control::Op::kWait;
        if (!client.send(std::move(wait))) break;
    }
    EXPECT_FALSE(client.receive(1, kPatience));
}

TEST(ControlClientTest, AMonitorThatStandsStillIsNamedAfterABoundedTime) {
    constexpr std::chrono::milliseconds kShort{20};
    const std::string path = testing::TempDir() + "drupe-stopped-" + std::to_string(::getpid());
    ::unlink(path.c_str());
    const Fd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size());
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(listener.get(), 0), 0);
    auto first = ControlClient::connect(path, "the monitor of x", kShort);
    ASSERT_TRUE(first) << first.error().message;
    const auto second = ControlClient::connect(path, "the monitor of x", kShort);
    ::unlink(path.c_str());
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::kLimit);
    EXPECT_EQ(second.error().message,
              "the monitor of x took no connection in time: it may be stopped (SIGSTOP)");

    Result<uint64_t> sent = uint64_t{0};
    constexpr int kMore = 100'000;  // than any socket holds
    for (int i = 0; i < kMore && sent; ++i) sent = first.value().send({});
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().code, ErrorCode::kLimit);
    EXPECT_EQ(sent.error().message,
              "the monitor of x took no request in time: it may be stopped (SIGSTOP)");
    EXPECT_EQ(first.value().receive(1, kShort).error().message,
              "the monitor of x didn't answer in time");
}

TEST_F(ControlServerTest, ConnectionsAreBounded) {
    std::vector<ControlClient> clients;
    for (size_t i = 0; i < control::kMaxClients; ++i) {
        clients.push_back(std::move(ControlClient::connect(path_)).value());
        ASSERT_TRUE(clients.back().call({}, kPatience));
    }
    ControlClient one_more = std::move(ControlClient::connect(path_)).value();
    EXPECT_FALSE(one_more.call({}, kPatience));
    clients.pop_back();
    for (int i = 0; i < 100; ++i) {
        ControlClient next = std::move(ControlClient::connect(path_)).value();
        if (next.call({}, kPatience)) return;
    }
    FAIL() << "a place that became free was never given out";
}

}  // namespace
}  // namespace drupe
