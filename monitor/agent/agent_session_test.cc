// AgentSession against a scripted guest that breaks one rule at a time.

#include "monitor/agent/agent_session.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <list>

#include "monitor/agent/test_host.h"

namespace drupe::agent {
namespace {

using protocol::frame;
using protocol::Kind;
using protocol::Stream;
using std::chrono::milliseconds;
using std::chrono::seconds;

/// A blocking end of a connection, as the guest has it.
class Peer {
  public:
    explicit Peer(Fd fd) : fd_(std::move(fd)) {}
    void send(std::string_view bytes) {
        while (!bytes.empty()) {
            const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (n <= 0) return;
            bytes.remove_prefix(static_cast<size_t>(n));
        }
    }
    /// Exactly size bytes, or fewer at the end of the connection or after 10 s.
    std::string receive(size_t size) {
        std::string bytes;
        while (bytes.size() < size && readable(10'000)) {
            char buffer[4096];
            const ssize_t n =
                ::recv(fd_.get(), buffer, std::min(sizeof buffer, size - bytes.size()), 0);
            if (n <= 0) break;
            bytes.append(buffer, static_cast<size_t>(n));
        }
        return bytes;
    }
    /// The next order: its header, payload dropped.
    protocol::FrameHeader receive_order() {
        const auto header =
            protocol::decode<protocol::FrameHeader>(receive(protocol::kFrameHeaderBytes));
        if (!header) return {};
        EXPECT_EQ(receive(header->length).size(), header->length);
        return *header;
    }
    [[nodiscard]] bool hung_up() {
        char byte = 0;
        return readable(10'000) && ::recv(fd_.get(), &byte, 1, 0) <= 0;
    }
    [[nodiscard]] bool readable(int timeout_ms) const {
        pollfd poll{.fd = fd_.get(), .events = POLLIN, .revents = 0};
        return ::poll(&poll, 1, timeout_ms) > 0;
    }

  private:
    Fd fd_;
};

std::string hello(uint16_t version = protocol::kVersion,
                  uint16_t min_version = protocol::kVersion) {
    return frame(Kind::kHello, 0,
                 protocol::Hello{.version = version,
                                 .min_version = min_version,
                                 .cpus = 1,
                                 .init_started_ns = 5,
                                 .kernel_release = "6.12"});
}
std::string answer(uint32_t id, int32_t error = 0, std::string message = "") {
    return frame(Kind::kAnswer, id,
                 protocol::Answer{.error = error, .message = std::move(message)});
}
std::string exited(uint32_t session) {
    return frame(Kind::kExited, 0, protocol::Exited{.session = session, .status = 4});
}
std::string opened(uint64_t offset, int32_t error = 0) {
    return protocol::encode(protocol::StreamOpened{.error = error, .offset = offset});
}
std::string data_frame(std::string_view bytes) {
    std::string out;
    protocol::append_data(out, bytes);
    return out;
}
std::string ack(uint64_t offset) {
    std::string out;
    protocol::append_ack(out, offset);
    return out;
}
std::string eof() {
    std::string out;
    protocol::append_eof(out);
    return out;
}

class AgentSessionTest : public testing::Test {
  protected:
    AgentSessionTest() {
        host_.run([this] {
            agent_ = make_agent_session(
                host_.loop(),
                [this](uint32_t /*port*/) -> Result<Fd> {
                    TRY_ASSIGN(FdPair pair, make_socketpair(SOCK_STREAM));
                    Fd guest = std::move(pair.second);
                    connections_.change([&](auto& list) {
                        list.push_back(std::make_shared<Peer>(std::move(guest)));
                    });
                    return std::move(pair.first);
                },
                record_into(reported_));
        });
    }
    ~AgentSessionTest() override {
        host_.run([this] {
            outputs_.clear();
            inputs_.clear();
            agent_.reset();
        });
        host_.stop();
    }

    /// A new control connection; its status in attached.
    Peer connect(bool expect_success = true) {
        FdPair pair = make_socketpair(SOCK_STREAM).value();
        const bool attached =
            host_.run([&] { return static_cast<bool>(agent_->attach(std::move(pair.first))); });
        EXPECT_EQ(attached, expect_success);
        return Peer(std::move(pair.second));
    }
    Peer greeted() {
        Peer peer = connect();
        peer.send(hello());
        EXPECT_EQ(peer.receive_order().kind, Kind::kWelcome);
        return peer;
    }
    Status order(const Order& order, milliseconds timeout = seconds(20)) {
        return host_.run([&] {
            return agent_->order(order, timeout, [this](const Status& status) {
                answers_.change([&](std::vector<std::string>& list) {
                    list.push_back(status ? "ok" : status.error().message);
                });
            });
        });
    }
    void start_session(Peer& peer, uint32_t session) {
        protocol::Start start;
        start.session = session;
        start.argv = {"x"};
        ASSERT_TRUE(order(start));
        peer.send(answer(peer.receive_order().id));
        ASSERT_TRUE(answers_.wait([](const auto& list) { return !list.empty(); }));
    }
    Collector& read(Stream stream, size_t room = SIZE_MAX, uint64_t offset = 0) {
        Collector& sink = collectors_.emplace_back();
        sink.set_room(room);
        host_.run([&] {
            auto stream_opened = agent_->open_output(1, stream, offset, sink);
            ASSERT_TRUE(stream_opened);
            outputs_.push_back(std::move(stream_opened).value());
        });
        return sink;
    }
    InputStream& write() {
        host_.run([&] {
            auto stream_opened =
                agent_->open_input(1, {.on_room = {}, .on_end = [this](const Status& status) {
                                           input_end_.change([&](std::string& end) {
                                               end = status ? "delivered" : status.error().message;
                                           });
                                       }});
            ASSERT_TRUE(stream_opened);
            inputs_.push_back(std::move(stream_opened).value());
        });
        return *inputs_.back();
    }
    /// The guest's end of the n-th stream connection, and what it opens.
    std::shared_ptr<Peer> stream_connection(size_t n, uint64_t expected_offset = 0) {
        EXPECT_TRUE(connections_.wait([&](const auto& list) { return list.size() > n; }));
        auto peer = connections_.get()[n];
        const auto open =
            protocol::decode<protocol::StreamOpen>(peer->receive(protocol::kStreamOpenBytes));
        EXPECT_TRUE(open);
        EXPECT_EQ(open.value_or(protocol::StreamOpen{}).offset, expected_offset);
        return peer;
    }
    void expect_broken(Peer& peer, const std::string& reason) {
        EXPECT_TRUE(peer.hung_up());
        EXPECT_TRUE(reported_.wait([](const Reported& r) { return r.losses == 1; }));
        EXPECT_EQ(reported_.get().lost_code, ErrorCode::kCorrupt);
        EXPECT_NE(reported_.get().lost.find(reason), std::string::npos) << reported_.get().lost;
        EXPECT_EQ(host_.run([this] { return agent_->violations(); }), 1U);
        (void)connect(false);  // never again
    }

    Watched<Reported> reported_;
    Watched<std::vector<std::string>> answers_;
    Watched<std::vector<std::shared_ptr<Peer>>> connections_;
    Watched<std::string> input_end_;
    std::list<Collector> collectors_;
    std::unique_ptr<AgentSession> agent_;
    std::vector<std::unique_ptr<OutputStream>> outputs_;
    std::vector<std::unique_ptr<InputStream>> inputs_;
    LoopThread host_;
};

TEST_F(AgentSessionTest, OrdersAreAnsweredByTheirIds) {
    Peer peer = greeted();
    ASSERT_TRUE(order(protocol::Signal{.session = 1, .signal = 15}));
    ASSERT_TRUE(order(protocol::Signal{.session = 2, .signal = 15}));
    const uint32_t first = peer.receive_order().id;
    const uint32_t second = peer.receive_order().id;

    peer.send(answer(second, ESRCH, "no such session"));
    peer.send(answer(first));

    ASSERT_TRUE(answers_.wait([](const auto& list) { return list.size() == 2; }));
    EXPECT_EQ(answers_.get(), (std::vector<std::string>{"no such session", "ok"}));
}

TEST_F(AgentSessionTest, FramesMayComeByteByByte) {
    Peer peer = connect();
    for (const char byte : hello()) peer.send(std::string_view(&byte, 1));
    EXPECT_EQ(peer.receive_order().kind, Kind::kWelcome);
    EXPECT_TRUE(reported_.wait([](const Reported& r) { return r.hellos == 1; }));
}

TEST_F(AgentSessionTest, ALateAnswerIsIgnored) {
    Peer peer = greeted();
    ASSERT_TRUE(order(protocol::Shutdown{}, milliseconds(1)));
    const uint32_t id = peer.receive_order().id;
    ASSERT_TRUE(answers_.wait([](const auto& list) { return list.size() == 1; }));
    EXPECT_EQ(answers_.get()[0], "the guest didn't answer in time");

    peer.send(answer(id));

    ASSERT_TRUE(order(protocol::Shutdown{}));
    peer.send(answer(peer.receive_order().id));
    EXPECT_TRUE(answers_.wait([](const auto& list) { return list.size() == 2; }));
    EXPECT_EQ(answers_.get()[1], "ok");
}

TEST_F(AgentSessionTest, NoOrdersTimePassesWhileTheGuestIsHeld) {
    Peer peer = greeted();
    host_.run([this] { agent_->hold(true); });
    ASSERT_TRUE(order(protocol::Resize{.session = 1}, milliseconds(20)));
    ASSERT_TRUE(order(protocol::Shutdown{}, milliseconds(20)));
    const uint32_t id = peer.receive_order().id;
    (void)peer.receive_order();
    std::promise<void> waited;
    auto timer = host_.run(
        [&] { return host_.loop().after(milliseconds(200), [&] { waited.set_value(); }); });
    waited.get_future().wait();
    host_.run([&] { timer.reset(); });
    EXPECT_TRUE(answers_.get().empty());

    peer.send(answer(id));
    ASSERT_TRUE(answers_.wait([](const auto& list) { return list.size() == 1; }));
    EXPECT_EQ(answers_.get()[0], "ok");

    host_.run([this] { agent_->hold(false); });
    ASSERT_TRUE(answers_.wait([](const auto& list) { return list.size() == 2; }));
    EXPECT_EQ(answers_.get()[1], "the guest didn't answer in time");
}

TEST_F(AgentSessionTest, OrdersAreBoundedInNumberAndBytes) {
    Peer peer = greeted();
    protocol::Start big;
    big.argv = {"x"};
    big.env.assign(12, std::string(128 << 10, 'e'));
    EXPECT_EQ(order(big).error().code, ErrorCode::kInvalid);
    big.env.resize(7);
    size_t sent = 0;
    while (sent < 100 && order(big)) ++sent;
    EXPECT_GE(sent, 3U);
    EXPECT_LT(sent, 10U);  // the guest reads nothing
    EXPECT_EQ(order(big).error().code, ErrorCode::kLimit);
}

TEST_F(AgentSessionTest, UnansweredOrdersAreBounded) {
    Peer peer = greeted();
    for (size_t i = 0; i < kMaxOutstandingOrders; ++i)
        ASSERT_TRUE(order(protocol::Signal{.session = 1}));
    EXPECT_EQ(order(protocol::Signal{.session = 1}).error().code, ErrorCode::kLimit);
}

TEST_F(AgentSessionTest, WhatTheGuestSaidBeforeItHungUpIsHeard) {
    auto peer = std::make_unique<Peer>(greeted());
    ASSERT_TRUE(order(protocol::Signal{.session = 1}));
    const uint32_t id = peer->receive_order().id;
    // On the loop's thread: the next order fails before the loop sees that there is something to
    // read.
    const Status ordered = host_.run([&] {
        peer->send(answer(id, EIO, "why"));
        peer.reset();
        return agent_->order(protocol::Signal{.session = 1}, seconds(20), [](const Status&) {});
    });
    EXPECT_TRUE(ordered);
    ASSERT_TRUE(answers_.wait([](const auto& list) { return list.size() == 1; }));
    EXPECT_NE(answers_.get()[0].find("why"), std::string::npos) << answers_.get()[0];
}

TEST_F(AgentSessionTest, ALostConnectionFailsItsOrdersAndAnotherMayCome) {
    {
        Peer peer = greeted();
        ASSERT_TRUE(order(protocol::Shutdown{}));
        EXPECT_EQ(peer.receive_order().kind, Kind::kShutdown);
        (void)connect(false);  // one at a time
    }
    ASSERT_TRUE(answers_.wait([](const auto& list) { return list.size() == 1; }));
    EXPECT_EQ(answers_.get()[0], "the connection to the guest is lost");
    EXPECT_EQ(order(protocol::Shutdown{}).error().code, ErrorCode::kConflict);
    Peer again = greeted();
    EXPECT_TRUE(reported_.wait([](const Reported& r) { return r.hellos == 2; }));
    EXPECT_EQ(host_.run([this] { return agent_->violations(); }), 0U);
}

TEST_F(AgentSessionTest, AFirstFrameThatIsntHelloBreaks) {
    Peer peer = connect();
    peer.send(answer(1));
    expect_broken(peer, "no Hello");
}
TEST_F(AgentSessionTest, ASecondHelloBreaks) {
    Peer peer = greeted();
    peer.send(hello());
    expect_broken(peer, "doesn't send at this point");
}
TEST_F(AgentSessionTest, AVersionFromTheFutureBreaks) {
    Peer peer = connect();
    peer.send(hello(9, 7));
    expect_broken(peer, "no protocol version in common");
}
TEST_F(AgentSessionTest, AnOversizedFrameBreaksBeforeItsPayloadComes) {
    Peer peer = greeted();
    peer.send(protocol::encode(
        protocol::FrameHeader{.length = protocol::kMaxEventBytes + 1, .kind = Kind::kAnswer}));
    expect_broken(peer, "oversized");
}
TEST_F(AgentSessionTest, AnUnknownKindBreaks) {
    Peer peer = greeted();
    peer.send(protocol::encode(protocol::FrameHeader{.kind = static_cast<Kind>(999)}));
    expect_broken(peer, "unknown");
}
TEST_F(AgentSessionTest, AnOrderFromTheGuestBreaks) {
    Peer peer = greeted();
    peer.send(frame(Kind::kShutdown, 1, protocol::Shutdown{}));
    expect_broken(peer, "doesn't send at this point");
}
TEST_F(AgentSessionTest, AnAnswerToNoOrderBreaks) {
    Peer peer = greeted();
    peer.send(answer(77));
    expect_broken(peer, "no order");
}
TEST_F(AgentSessionTest, ASecondAnswerBreaks) {
    Peer peer = greeted();
    ASSERT_TRUE(order(protocol::Signal{.session = 1}));
    const uint32_t id = peer.receive_order().id;
    peer.send(answer(id) + answer(id));
    expect_broken(peer, "no order");
    EXPECT_EQ(answers_.get().size(), 1U);
}
TEST_F(AgentSessionTest, AnAnswerWithBytesLeftOverBreaks) {
    Peer peer = greeted();
    ASSERT_TRUE(order(protocol::Signal{.session = 1}));
    std::string bytes = answer(peer.receive_order().id);
    bytes[0] = static_cast<char>(bytes[0] + 1);
    peer.send(bytes + "x");
    expect_broken(peer, "malformed Answer");
    EXPECT_TRUE(answers_.wait([](const auto& list) { return list.size() == 1; }));
}
TEST_F(AgentSessionTest, TheExitOfASessionThatWasntStartedBreaks) {
    Peer peer = greeted();
    peer.send(exited(1));
    expect_broken(peer, "wasn't started");
}
TEST_F(AgentSessionTest, ASecondExitBreaks) {
    Peer peer = greeted();
    start_session(peer, 1);
    peer.send(exited(1) + exited(1));
    expect_broken(peer, "second exit");
    EXPECT_EQ(reported_.get().exit_calls, 1);
}
TEST_F(AgentSessionTest, AFrameAfterHaltedBreaks) {
    Peer peer = greeted();
    peer.send(frame(Kind::kHalted, 0, protocol::Shutdown{}) + answer(1));
    expect_broken(peer, "after Halted");
    EXPECT_TRUE(reported_.get().halted);
}

TEST_F(AgentSessionTest, AFloodOfExitsIsRefusedAtItsSecond) {
    Peer peer = greeted();
    host_.run([this] { agent_->expect_session(9); });
    std::string flood;
    for (int i = 0; i < 1000; ++i) flood += exited(9);
    peer.send(flood);
    expect_broken(peer, "second exit");
}

TEST_F(AgentSessionTest, OutputArrivesAndEnds) {
    Peer control = greeted();
    Collector& sink = read(Stream::kStdout);
    auto peer = stream_connection(0);
    peer->send(opened(0) + data_frame("hello ") + data_frame("world") + eof());
    EXPECT_EQ(sink.whole(), "hello world");
    EXPECT_TRUE(peer->hung_up());
}

TEST_F(AgentSessionTest, ALostStreamIsOpenedAgainWhereItWas) {
    Peer control = greeted();
    Collector& sink = read(Stream::kStdout);
    auto peer = stream_connection(0);
    peer->send(opened(0) + data_frame("one,"));
    ASSERT_TRUE(sink.state().wait([](const auto& state) { return state.bytes == "one,"; }));
    connections_.change([](auto& list) { list[0].reset(); });
    peer.reset();
    auto again = stream_connection(1, 4);
    again->send(opened(4) + data_frame("two") + eof());
    EXPECT_EQ(sink.whole(), "one,two");
}

TEST_F(AgentSessionTest, AStreamThatIsLostAgainAndAgainEnds) {
    Peer control = greeted();
    Collector& sink = read(Stream::kStdout);
    for (size_t i = 0; i <= 16; ++i) {
        ASSERT_TRUE(connections_.wait([&](const auto& list) { return list.size() > i; }));
        connections_.change([&](auto& list) { list[i].reset(); });
    }
    EXPECT_NE(sink.whole().find("again and again"), std::string::npos);
    EXPECT_EQ(connections_.get().size(), 17U);
}

TEST_F(AgentSessionTest, AcknowledgementsFollowTheSinkNotTheSocket) {
    Peer control = greeted();
    Collector& sink = read(Stream::kStdout, 10);
    auto peer = stream_connection(0);
    const std::string half(protocol::kMaxStreamData, 'x');
    peer->send(opened(0) + data_frame(half));
    ASSERT_TRUE(sink.state().wait([](const auto& state) { return state.bytes.size() == 10; }));
    EXPECT_FALSE(peer->readable(50));
    host_.run([&] {
        sink.set_room(SIZE_MAX);
        outputs_[0]->resume();
    });
    EXPECT_EQ(peer->receive(16), ack(protocol::kMaxStreamData));
}

TEST_F(AgentSessionTest, ARefusedStreamEndsWithTheReason) {
    Peer control = greeted();
    Collector& sink = read(Stream::kStderr, SIZE_MAX, 99);
    auto peer = stream_connection(0, 99);
    peer->send(opened(0, ERANGE));
    EXPECT_NE(sink.whole().find("stderr of session 1: the guest refuses"), std::string::npos);
    EXPECT_EQ(host_.run([this] { return agent_->violations(); }), 0U);
}

TEST_F(AgentSessionTest, AnErrnoWithoutANameIsANumber) {
    Peer control = greeted();
    Collector& sink = read(Stream::kStdout);
    auto peer = stream_connection(0);
    peer->send(opened(0, 4000));
    EXPECT_NE(sink.whole().find("the guest refuses: error 4000"), std::string::npos);
}

TEST_F(AgentSessionTest, AFullSinkLeavesAFloodInTheSocket) {
    Peer control = greeted();
    Collector& sink = read(Stream::kStdout, 0);
    auto peer = stream_connection(0);
    peer->send(opened(0));
    const std::string chunk(protocol::kMaxStreamData, 'x');
    std::thread flood([&] {
        for (int i = 0; i < 5; ++i) peer->send(data_frame(chunk));
    });
    EXPECT_FALSE(
        sink.state().wait([](const auto& s) { return !s.bytes.empty() || s.ended; }, seconds(0)));
    host_.run([&] {
        sink.set_room(SIZE_MAX);
        outputs_[0]->resume();
    });
    flood.join();
    ASSERT_TRUE(sink.state().wait(
        [&](const auto& s) { return s.bytes.size() == 5 * chunk.size() || s.ended; }));
    EXPECT_EQ(host_.run([this] { return agent_->violations(); }), 0U);
}

struct BadStream {
    const char* name;
    std::string bytes;
};
class AgentStreamRules : public AgentSessionTest, public testing::WithParamInterface<BadStream> {};

TEST_P(AgentStreamRules, ABrokenRuleOfAnOutputEndsEverything) {
    Peer control = greeted();
    Collector& sink = read(Stream::kStdout);
    auto peer = stream_connection(0);
    peer->send(GetParam().bytes);
    EXPECT_NE(sink.whole().find("broke the protocol"), std::string::npos);
    EXPECT_TRUE(peer->hung_up());
    expect_broken(control, "stdout of session 1");
}

INSTANTIATE_TEST_SUITE_P(
    Output, AgentStreamRules,
    testing::Values(
        BadStream{"WrongOffset", opened(1)}, BadStream{"NegativeError", opened(0, -5)},
        BadStream{"Ack", opened(0) + ack(0)},
        BadStream{"EmptyData", opened(0) + protocol::encode(protocol::StreamFrame{
                                               .kind = protocol::StreamKind::kData, .length = 0})},
        BadStream{"OversizedData", opened(0) + protocol::encode(protocol::StreamFrame{
                                                   .kind = protocol::StreamKind::kData,
                                                   .length = protocol::kMaxStreamData + 1})},
        BadStream{"UnknownKind", opened(0) + std::string("\x09\0\0\0\0\0\0\0", 8)}),
    [](const auto& test) { return test.param.name; });

TEST_F(AgentSessionTest, InputIsKeptUntilItIsAcknowledged) {
    Peer control = greeted();
    InputStream& input = write();
    auto peer = stream_connection(0);
    EXPECT_EQ(host_.run([&] { return input.write("abcdef"); }), 6U);
    peer->send(opened(0));
    EXPECT_EQ(peer->receive(14), data_frame("abcdef"));
    peer->send(ack(2));
    connections_.change([](auto& list) { list[0].reset(); });
    peer.reset();

    auto again = stream_connection(1, 2);
    again->send(opened(4));  // the guest had more than it said
    EXPECT_EQ(again->receive(10), data_frame("ef"));
    host_.run([&] { input.close(); });
    EXPECT_EQ(again->receive(8), eof());
    again->send(ack(6) + eof());
    EXPECT_TRUE(input_end_.wait([](const std::string& end) { return end == "delivered"; }));
}

TEST_F(AgentSessionTest, InputOfASessionThatWasTakenOverGoesOnWhereTheGuestIs) {
    Peer control = greeted();
    host_.run([this] { agent_->expect_session(1); });
    InputStream& input = write();
    EXPECT_EQ(host_.run([&] { return input.write("abc"); }), 3U);
    auto peer = stream_connection(0);
    peer->send(opened(1000) + ack(990));  // of what another host had sent
    EXPECT_EQ(peer->receive(11), data_frame("abc"));
    peer->send(ack(1002));
    connections_.change([](auto& list) { list[0].reset(); });
    peer.reset();
    auto again = stream_connection(1, 1002);
    again->send(opened(1002));
    EXPECT_EQ(again->receive(9), data_frame("c"));
}

TEST_F(AgentSessionTest, AnInputThatGoesOnNearTheEndOfNumbersBreaks) {
    Peer control = greeted();
    host_.run([this] { agent_->expect_session(1); });
    (void)write();
    auto peer = stream_connection(0);
    peer->send(opened(UINT64_MAX - 1));
    expect_broken(control, "stdin of session 1");
}

TEST_F(AgentSessionTest, InputIsBoundedByTheWindow) {
    Peer control = greeted();
    InputStream& input = write();
    const std::string much(protocol::kStreamWindow + 5, 'x');
    EXPECT_EQ(host_.run([&] { return input.write(much); }), size_t{protocol::kStreamWindow});
    EXPECT_EQ(host_.run([&] { return input.write("y"); }), 0U);
}

class AgentInputRules : public AgentSessionTest, public testing::WithParamInterface<BadStream> {};

TEST_P(AgentInputRules, ABrokenRuleOfAnInputEndsEverything) {
    Peer control = greeted();
    InputStream& input = write();
    EXPECT_EQ(host_.run([&] { return input.write("abc"); }), 3U);
    auto peer = stream_connection(0);
    peer->send(GetParam().bytes);
    EXPECT_TRUE(input_end_.wait([](const std::string& end) { return !end.empty(); }));
    expect_broken(control, "stdin of session 1");
}

INSTANTIATE_TEST_SUITE_P(Input, AgentInputRules,
                         testing::Values(BadStream{"OffsetNeverSent", opened(1)},
                                         BadStream{"AckBeyondSent", opened(0) + ack(4)},
                                         BadStream{"AckBackwards", opened(0) + ack(2) + ack(1)},
                                         BadStream{"Data", opened(0) + data_frame("x")},
                                         BadStream{"EofWithoutEof", opened(0) + eof()}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace drupe::agent
