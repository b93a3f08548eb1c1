// The device with a well-behaved guest.
#include "devices/virtio_vsock/virtio_vsock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "devices/virtio_vsock/testing/guest.h"

namespace drupe::vsock {
namespace {

using testing::Guest;
using testing::kGuestCid;
using testing::Packet;

class VsockTest : public ::testing::TestWithParam<bool> {
  protected:
    static Guest::Setup setup() {
        Guest::Setup setup;
        setup.event_idx = GetParam();
        return setup;
    }
    VsockTest() : guest(setup()) {
        guest.listen(1024);
        guest.start();
    }
    Guest guest;
};
INSTANTIATE_TEST_SUITE_P(Notifications, VsockTest, ::testing::Bool(), [](const auto& parameter) {
    return parameter.param ? "EventIdx" : "Flags";
});

TEST_P(VsockTest, ConfigurationHoldsTheCidAndZeroesBehindIt) {
    std::array<std::byte, 12> config;
    config.fill(std::byte{0xff});
    guest.device.read_config(0, config);
    EXPECT_EQ(config[0], std::byte{kGuestCid});
    for (size_t i = 1; i < config.size(); ++i) EXPECT_EQ(config[i], std::byte{0});
    guest.device.read_config(UINT32_MAX, config);
    EXPECT_EQ(config[0], std::byte{0});
}

TEST_P(VsockTest, TheGuestConnectsAndBytesGoBothWays) {
    const ConnectionKey key = guest.open(5000);
    ASSERT_EQ(guest.accepted.size(), 1U);
    PacketHeader data = Guest::header(key, kOpRw);
    data.len = 5;
    guest.send(data, "hello");
    EXPECT_EQ(Guest::drain(guest.accepted[0]), "hello");
    ASSERT_EQ(::write(guest.accepted[0].get(), "world", 5), 5);
    guest.run();
    const Packet answer = guest.next(kOpRw);
    EXPECT_EQ(answer.payload, "world");
    EXPECT_EQ(answer.header.src_port, 1024U);
    EXPECT_EQ(answer.header.dst_port, 5000U);
    EXPECT_EQ(answer.header.fwd_cnt, 5U);
    EXPECT_EQ(answer.header.buf_alloc, 256U << 10);
    EXPECT_TRUE(guest.host.faults.empty());
}

TEST_P(VsockTest, APortThatNobodyListensOnIsReset) {
    guest.send(Guest::header({5000, 7}, kOpRequest));
    const Packet reset = guest.next(kOpRst);
    EXPECT_EQ(reset.header.src_port, 7U);
    EXPECT_EQ(reset.header.dst_port, 5000U);
    EXPECT_EQ(guest.device.connections(), 0U);
}

TEST_P(VsockTest, AListenerThatRefusesResets) {
    ASSERT_TRUE(guest.device.listen(8, 1, []() -> Result<Fd> {
        return Error{ErrorCode::kConflict, "not now"};
    }));
    guest.send(Guest::header({5000, 8}, kOpRequest));
    EXPECT_EQ(guest.next(kOpRst).header.op, kOpRst);
}

TEST_P(VsockTest, ASecondListenerOnAPortIsAConflict) {
    const auto second = guest.device.listen(1024, 1, []() -> Result<Fd> { return Fd(); });
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::kConflict);
}

TEST_P(VsockTest, TheHostConnects) {
    auto [ours, its] = Guest::pair();
    std::optional<bool> connected;
    ASSERT_TRUE(guest.device.connect(
        1025, std::move(its), [&](const Status& status) { connected = status.has_value(); }));
    guest.run();
    const Packet request = guest.next(kOpRequest);
    ASSERT_EQ(request.header.dst_port, 1025U);
    EXPECT_FALSE(connected.has_value());
    ASSERT_EQ(::write(ours.get(), "early", 5), 5);
    guest.run();
    EXPECT_TRUE(guest.inbox.empty());  // not before the guest has said yes

    guest.send(Guest::header({1025, request.header.src_port}, kOpResponse));
    EXPECT_EQ(connected, true);
    EXPECT_EQ(guest.next(kOpRw).payload, "early");
    EXPECT_EQ(guest.loop.timers(), 0U);
}

TEST_P(VsockTest, AConnectThatTheGuestRefusesSaysSo) {
    auto [ours, its] = Guest::pair();
    std::string why;
    ASSERT_TRUE(guest.device.connect(1025, std::move(its),
                                     [&](const Status& status) { why = status.error().message; }));
    guest.run();
    const Packet request = guest.next(kOpRequest);
    guest.send(Guest::header({1025, request.header.src_port}, kOpRst));
    EXPECT_THAT(why, ::testing::HasSubstr("refused"));
    EXPECT_TRUE(Guest::at_end(ours));
    EXPECT_TRUE(guest.inbox.empty());
    EXPECT_EQ(guest.device.connections(), 0U);
}

TEST_P(VsockTest, AConnectThatTheGuestIgnoresTimesOut) {
    auto [ours, its] = Guest::pair();
    std::string why;
    ASSERT_TRUE(guest.device.connect(1025, std::move(its),
                                     [&](const Status& status) { why = status.error().message; }));
    guest.run();
    EXPECT_EQ(guest.next(kOpRequest).header.op, kOpRequest);
    guest.loop.advance(std::chrono::seconds(4));
    EXPECT_EQ(why, "");
    guest.loop.advance(std::chrono::seconds(2));
    guest.run();
    EXPECT_THAT(why, ::testing::HasSubstr("in time"));
    EXPECT_EQ(guest.next(kOpRst).header.op, kOpRst);
    EXPECT_TRUE(Guest::at_end(ours));
}

TEST_P(VsockTest, ConnectWithoutADriverIsAnErrorAtOnce) {
    guest.device.reset();
    auto [ours, its] = Guest::pair();
    EXPECT_FALSE(guest.device.connect(1025, std::move(its), [](const Status&) { FAIL(); }));
}

/// A byte of the endless stream that transfers are compared with.
char pattern(uint64_t offset) {
    return static_cast<char>((offset * 0x9e3779b97f4a7c15ULL) >> 56);
}
std::string pattern(uint64_t offset, size_t size) {
    std::string text(size, '\0');
    for (size_t i = 0; i < size; ++i) text[i] = pattern(offset + i);
    return text;
}

TEST_P(VsockTest, SixtyFourMebibytesReachTheHostThroughTheCreditItGives) {
    constexpr uint64_t kTotal = 64 << 20;
    const ConnectionKey key = guest.open(5000);
    std::mt19937 random(1);
    uint64_t sent = 0, received = 0;
    uint32_t told = 0;
    while (received < kTotal) {
        const uint64_t credit = (256U << 10) - (static_cast<uint32_t>(sent) - told);
        const uint64_t size = std::min({credit, kTotal - sent, uint64_t{random() % 65536 + 1}});
        if (size > 0) {
            PacketHeader data = Guest::header(key, kOpRw);
            data.len = static_cast<uint32_t>(size);
            guest.send(data, pattern(sent, size));
            sent += size;
        }
        if (size == 0 || random() % 4 == 0) {
            const std::string text = Guest::drain(guest.accepted[0], random() % 300000 + 1);
            ASSERT_EQ(text, pattern(received, text.size())) << received;
            received += text.size();
            guest.run();
        }
        for (; !guest.inbox.empty(); guest.inbox.pop_front())
            told = guest.inbox.front().header.fwd_cnt;
    }
    EXPECT_EQ(sent, kTotal);
    EXPECT_TRUE(guest.host.faults.empty());
}

TEST_P(VsockTest, SixtyFourMebibytesReachTheGuestThroughSmallCredit) {
    constexpr uint64_t kTotal = 64 << 20;
    constexpr uint32_t kBuffer = 70'000;
    const ConnectionKey key = guest.open(5000, 1024, kBuffer);
    uint64_t written = 0, received = 0, credit_requests = 0;
    while (received < kTotal) {
        const std::string text = pattern(written, std::min<uint64_t>(kTotal - written, 100'000));
        if (!text.empty()) {
            const ssize_t n = ::write(guest.accepted[0].get(), text.data(), text.size());
            if (n > 0) written += static_cast<uint64_t>(n);
        }
        guest.run();
        uint64_t unread = 0;
        for (; !guest.inbox.empty(); guest.inbox.pop_front()) {
            const Packet& packet = guest.inbox.front();
            if (packet.header.op == kOpCreditRequest) ++credit_requests;
            ASSERT_EQ(packet.payload, pattern(received, packet.payload.size()));
            received += packet.payload.size();
            unread += packet.payload.size();
        }
        ASSERT_LE(unread, kBuffer);
        PacketHeader update = Guest::header(key, kOpCreditUpdate);
        update.buf_alloc = kBuffer;
        update.fwd_cnt = static_cast<uint32_t>(received);
        guest.send(update);
    }
    EXPECT_GT(credit_requests, 0U);
    EXPECT_TRUE(guest.host.faults.empty());
}

TEST_P(VsockTest, ACreditRequestIsAnswered) {
    const ConnectionKey key = guest.open(5000);
    guest.send(Guest::header(key, kOpCreditRequest));
    EXPECT_EQ(guest.next(kOpCreditUpdate).header.buf_alloc, 256U << 10);
}

TEST_P(VsockTest, TheGuestsEndOfStreamCrossesAndTheOtherDirectionGoesOn) {
    const ConnectionKey key = guest.open(5000);
    PacketHeader shutdown = Guest::header(key, kOpShutdown);
    shutdown.flags = kShutdownSend;
    guest.send(shutdown);
    EXPECT_TRUE(Guest::at_end(guest.accepted[0]));
    ASSERT_EQ(::write(guest.accepted[0].get(), "still", 5), 5);
    guest.run();
    EXPECT_EQ(guest.next(kOpRw).payload, "still");
    guest.accepted.clear();  // now the host ends too: nothing is left, in either direction
    guest.run();
    EXPECT_EQ(guest.next(kOpShutdown).header.flags, kShutdownBoth);
    PacketHeader reset = Guest::header(key, kOpRst);
    guest.send(reset);
    EXPECT_EQ(guest.device.connections(), 0U);
}

TEST_P(VsockTest, TheHostsEndOfStreamCrossesAfterItsBytesAndTheOtherDirectionGoesOn) {
    const ConnectionKey key = guest.open(5000);
    ASSERT_EQ(::write(guest.accepted[0].get(), "last", 4), 4);
    ASSERT_EQ(::shutdown(guest.accepted[0].get(), SHUT_WR), 0);
    guest.run();
    EXPECT_EQ(guest.next(kOpRw).payload, "last");
    EXPECT_EQ(guest.next(kOpShutdown).header.flags, kShutdownSend);
    PacketHeader data = Guest::header(key, kOpRw);
    data.len = 2;
    data.fwd_cnt = 4;
    guest.send(data, "ok");
    EXPECT_EQ(Guest::drain(guest.accepted[0]), "ok");
    // When the guest ends as well, the device says that it is all over.
    PacketHeader shutdown = Guest::header(key, kOpShutdown);
    shutdown.flags = kShutdownSend;
    shutdown.fwd_cnt = 4;
    guest.send(shutdown);
    EXPECT_TRUE(Guest::at_end(guest.accepted[0]));
    EXPECT_EQ(guest.next(kOpShutdown).header.flags, kShutdownBoth);
}

TEST_P(VsockTest, AGuestThatDoesntReadAnyMoreStopsTheHostsWriter) {
    const ConnectionKey key = guest.open(5000);
    PacketHeader shutdown = Guest::header(key, kOpShutdown);
    shutdown.flags = kShutdownReceive;
    guest.send(shutdown);
    EXPECT_LT(::send(guest.accepted[0].get(), "x", 1, MSG_NOSIGNAL), 0);
    EXPECT_EQ(errno, EPIPE);
    PacketHeader data = Guest::header(key, kOpRw);
    data.len = 2;
    guest.send(data, "ok");
    EXPECT_EQ(Guest::drain(guest.accepted[0]), "ok");
}

TEST_P(VsockTest, AHostEndThatClosesEndsBothDirections) {
    const ConnectionKey key = guest.open(5000);
    ASSERT_EQ(::write(guest.accepted[0].get(), "bye", 3), 3);
    guest.accepted.clear();
    guest.run();
    EXPECT_EQ(guest.next(kOpRw).payload, "bye");
    EXPECT_EQ(guest.next(kOpShutdown).header.flags, kShutdownBoth);
    EXPECT_EQ(guest.loop.watches(), 0U);
    // Bytes that were on their way meanwhile are dropped, not punished.
    PacketHeader data = Guest::header(key, kOpRw);
    data.len = 1;
    guest.send(data, "x");
    EXPECT_TRUE(guest.host.faults.empty());
    guest.send(Guest::header(key, kOpRst));
    EXPECT_EQ(guest.device.connections(), 0U);
    EXPECT_EQ(guest.loop.timers(), 0U);
}

TEST_P(VsockTest, AGuestThatDoesntConfirmTheEndIsResetAfterAWhile) {
    guest.open(5000);
    guest.accepted.clear();
    guest.run();
    EXPECT_EQ(guest.next(kOpShutdown).header.flags, kShutdownBoth);
    guest.loop.advance(std::chrono::seconds(9));
    guest.run();
    EXPECT_EQ(guest.next(kOpRst).header.op, kOpRst);
    EXPECT_EQ(guest.device.connections(), 0U);
}

/// Sends until the guest has no credit left; returns how many bytes.
size_t fill(Guest& guest, const ConnectionKey& key, size_t credit = 256 << 10) {
    size_t sent = 0;
    uint32_t told = 0;
    while (sent - told < credit) {
        PacketHeader data = Guest::header(key, kOpRw);
        const size_t size = std::min<size_t>(credit - (sent - told), 65536);
        data.len = static_cast<uint32_t>(size);
        guest.send(data, pattern(sent, size));
        sent += size;
        for (; !guest.inbox.empty(); guest.inbox.pop_front())
            told = guest.inbox.front().header.fwd_cnt;
    }
    return sent;
}

TEST_P(VsockTest, APortForOneConnectionTakesTheNextAsSoonAsEitherSideHasLeft) {
    guest.listen(9, 1);
    guest.open(5000, 9);
    guest.send(Guest::header({5001, 9}, kOpRequest));
    EXPECT_EQ(guest.next(kOpRst).header.dst_port, 5001U);
    guest.accepted.clear();  // the host's side leaves, and the guest doesn't confirm it
    guest.run();
    EXPECT_EQ(guest.next(kOpShutdown).header.flags, kShutdownBoth);
    const ConnectionKey second = guest.open(5001, 9);
    fill(guest, second);
    guest.send(Guest::header(second, kOpRst));  // the guest leaves, and its bytes aren't read yet
    EXPECT_EQ(guest.device.connections(), 2U);
    guest.open(5002, 9);
    guest.accepted.clear();
}

TEST_P(VsockTest, AHostEndThatOnlyStopsReadingIsToldToTheGuest) {
    const ConnectionKey key = guest.open(5000);
    ASSERT_EQ(::shutdown(guest.accepted[0].get(), SHUT_RD), 0);
    PacketHeader data = Guest::header(key, kOpRw);
    data.len = 1;
    guest.send(data, "x");
    EXPECT_EQ(guest.next(kOpShutdown).header.flags, kShutdownReceive);
    ASSERT_EQ(::write(guest.accepted[0].get(), "out", 3), 3);
    guest.run();
    EXPECT_EQ(guest.next(kOpRw).payload, "out");
}

TEST_P(VsockTest, WhatTheGuestSentBeforeItClosedIsNotLostToASlowReader) {
    const ConnectionKey key = guest.open(5000);
    const size_t sent = fill(guest, key);
    PacketHeader shutdown = Guest::header(key, kOpShutdown);
    shutdown.flags = kShutdownBoth;
    guest.send(shutdown);
    EXPECT_TRUE(guest.inbox.empty());  // no RST before all is delivered
    std::string text;
    while (text.size() < sent) {
        text += Guest::drain(guest.accepted[0], 10'000);
        guest.run();
    }
    EXPECT_EQ(text, pattern(0, sent));
    EXPECT_TRUE(Guest::at_end(guest.accepted[0]));
    EXPECT_EQ(guest.next(kOpRst).header.op, kOpRst);
    EXPECT_EQ(guest.device.connections(), 0U);
}

TEST_P(VsockTest, WhatTheGuestSentBeforeItResetIsNotLostEither) {
    const ConnectionKey key = guest.open(5000);
    const size_t sent = fill(guest, key);
    guest.send(Guest::header(key, kOpRst));
    std::string text;
    while (text.size() < sent) {
        text += Guest::drain(guest.accepted[0], 10'000);
        guest.run();
    }
    EXPECT_EQ(text, pattern(0, sent));
    EXPECT_TRUE(Guest::at_end(guest.accepted[0]));
    EXPECT_TRUE(guest.inbox.empty());
    EXPECT_EQ(guest.device.connections(), 0U);
}

TEST_P(VsockTest, ASlowReaderStopsOnlyItsOwnConnection) {
    const ConnectionKey slow = guest.open(5000);
    const ConnectionKey fast = guest.open(5001);
    fill(guest, slow);
    PacketHeader data = Guest::header(fast, kOpRw);
    data.len = 4;
    guest.send(data, "fast");
    EXPECT_EQ(Guest::drain(guest.accepted[1]), "fast");
}

TEST_P(VsockTest, ConnectionsShareTheReceiveBuffersFairly) {
    guest.open(5000);
    guest.open(5001);
    const std::string text(100'000, 'x');
    ASSERT_EQ(::write(guest.accepted[0].get(), text.data(), text.size()), 100'000);
    ASSERT_EQ(::write(guest.accepted[1].get(), "y", 1), 1);
    guest.refill = false;
    guest.run();
    size_t before = 0;
    while (!guest.inbox.empty() && guest.inbox.front().header.dst_port == 5000) {
        guest.inbox.pop_front();
        ++before;
    }
    EXPECT_FALSE(guest.inbox.empty());
    EXPECT_LE(before, 32U);
}

TEST_P(VsockTest, PauseKeepsConnectionsAndLeavesNothingInTheQueues) {
    const ConnectionKey key = guest.open(5000);
    // A read that finds nothing leaves a buffer popped.
    const std::string text(4096 - kHeaderBytes, 'x');
    ASSERT_EQ(::write(guest.accepted[0].get(), text.data(), text.size()),
              static_cast<ssize_t>(text.size()));
    guest.run();
    bool quiet = false;
    guest.device.quiesce([&] { quiet = true; });
    EXPECT_TRUE(quiet);
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(guest.device.queue(i)->in_flight(), 0) << i;
    EXPECT_EQ(guest.loop.watches(), 0U);
    guest.collect();
    guest.inbox.clear();
    PacketHeader data = Guest::header(key, kOpRw);
    data.len = 5;
    ASSERT_TRUE(guest.offer(data, "later"));
    ASSERT_EQ(::write(guest.accepted[0].get(), "after", 5), 5);
    guest.run();
    EXPECT_EQ(Guest::drain(guest.accepted[0]), "");
    guest.device.resume();
    guest.run();
    EXPECT_EQ(Guest::drain(guest.accepted[0]), "later");
    EXPECT_EQ(guest.next(kOpRw).payload, "after");
}

TEST_P(VsockTest, WhileItIsQuietAHostEndThatHasSomethingIsToldOf) {
    const ConnectionKey key = guest.open(5000);
    guest.run();
    guest.device.quiesce([] {});
    int woken = 0;
    guest.device.watch_for_work([&] {
        ++woken;
        guest.collect();
        EXPECT_TRUE(guest.inbox.empty());
        guest.device.resume();
    });
    guest.run();
    EXPECT_EQ(woken, 0);
    ASSERT_EQ(::write(guest.accepted[0].get(), "after", 5), 5);
    guest.run();
    EXPECT_EQ(woken, 1);
    EXPECT_EQ(guest.next(kOpRw).payload, "after");
    PacketHeader data = Guest::header(key, kOpRw);
    data.len = 5;
    guest.send(data, "hello");
    EXPECT_EQ(Guest::drain(guest.accepted[0]), "hello");
    ASSERT_EQ(::write(guest.accepted[0].get(), "more", 4), 4);
    guest.run();
    EXPECT_EQ(guest.next(kOpRw).payload, "more");
    EXPECT_EQ(woken, 1) << "it works again";
}

TEST_P(VsockTest, AGuestThatResetsAQuietDeviceHasNothingToBeToldOf) {
    guest.open(5000);
    guest.device.quiesce([] {});
    guest.device.reset();
    guest.device.watch_for_work([] { FAIL(); });
    EXPECT_EQ(guest.loop.watches(), 0U);
}

TEST_P(VsockTest, ARestoredDeviceTellsTheGuestThatItsConnectionsAreGone) {
    guest.open(5000);
    guest.device.quiesce([] {});
    Encoder state;
    guest.device.save(state);
    Guest clone(setup());
    Decoder in(state.bytes());
    ASSERT_TRUE(clone.device.restore(in));
    EXPECT_TRUE(in.at_end());
    clone.start();
    EXPECT_THAT(clone.take_events(), ::testing::ElementsAre(4));
    clone.send(Guest::header({5000, 1024}, kOpCreditUpdate));
    EXPECT_EQ(clone.next(kOpRst).header.op, kOpRst);
}

TEST_P(VsockTest, StateOfAnotherVersionOrGuestIsRefused) {
    Encoder state;
    guest.device.save(state);
    for (size_t size = 0; size < state.bytes().size(); ++size) {
        Decoder in(std::string_view(state.bytes()).substr(0, size));
        EXPECT_FALSE(guest.device.restore(in));
    }
    std::string other = state.bytes();
    other[1] = 9;  // the CID
    Decoder in(other);
    EXPECT_FALSE(guest.device.restore(in));
    EXPECT_TRUE(guest.take_events().empty());
}

TEST_P(VsockTest, TransportResetEndsAllConnections) {
    guest.open(5000);
    guest.device.transport_reset();
    guest.run();
    EXPECT_THAT(guest.take_events(), ::testing::ElementsAre(4));
    EXPECT_TRUE(Guest::at_end(guest.accepted[0]));
    EXPECT_EQ(guest.device.connections(), 0U);
}

TEST_P(VsockTest, ADeviceResetClosesEverythingAndFailsWhatIsConnecting) {
    guest.open(5000);
    auto [ours, its] = Guest::pair();
    int failures = 0;
    ASSERT_TRUE(guest.device.connect(1025, std::move(its),
                                     [&](const Status& s) { failures += s.has_error() ? 1 : 0; }));
    guest.device.reset();
    EXPECT_EQ(failures, 1);
    EXPECT_TRUE(Guest::at_end(guest.accepted[0]));
    EXPECT_TRUE(Guest::at_end(ours));
    EXPECT_EQ(guest.loop.watches() + guest.loop.timers(), 0U);
}

TEST_P(VsockTest, NothingRunsWhileNothingMoves) {
    guest.open(5000);
    guest.run();
    EXPECT_EQ(guest.loop.timers(), 0U);
    EXPECT_EQ(guest.loop.watches(), 1U);  // the host end, for bytes
    EXPECT_EQ(guest.loop.step(), 0U);
}

}  // namespace
}  // namespace drupe::vsock
