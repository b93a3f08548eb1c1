// The device with a guest that breaks the rules.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "devices/virtio_vsock/testing/guest.h"
#include "devices/virtio_vsock/virtio_vsock.h"

namespace drupe::vsock {
namespace {

using ::testing::ElementsAre;
using testing::Guest;
using ::testing::HasSubstr;
using testing::kRxQueue;
using testing::kTxQueue;
using virtio::testing::Buffer;

class HostileGuestTest : public ::testing::Test {
  protected:
    explicit HostileGuestTest(Guest::Setup setup = {}) : guest(std::move(setup)) {
        guest.listen(1024);
        guest.start();
    }
    /// The device goes on serving: a new connection works.
    void expect_serving() {
        guest.inbox.clear();
        const size_t before = guest.accepted.size();
        const ConnectionKey key = guest.open(60'000);
        PacketHeader data = Guest::header(key, kOpRw);
        data.len = 2;
        guest.send(data, "ok");
        ASSERT_EQ(guest.accepted.size(), before + 1);
        EXPECT_EQ(Guest::drain(guest.accepted[before]), "ok");
    }
    /// That connection was reset, and only the guest is to blame.
    void expect_violation(const char* what, size_t connection = 0) {
        EXPECT_EQ(guest.next(kOpRst).header.op, kOpRst);
        EXPECT_TRUE(Guest::at_end(guest.accepted[connection]));
        EXPECT_THAT(guest.host.faults, ElementsAre(HasSubstr(what)));
        EXPECT_TRUE(guest.host.resets.empty());
        expect_serving();
    }
    Guest guest;
};

TEST_F(HostileGuestTest, SeqpacketIsRefusedWithItsOwnType) {
    PacketHeader request = Guest::header({5000, 1024}, kOpRequest);
    request.type = 2;
    guest.send(request);
    const auto reset = guest.next(kOpRst);
    EXPECT_EQ(reset.header.type, 2);
    EXPECT_TRUE(guest.accepted.empty());
}

TEST_F(HostileGuestTest, ForgedContextIdsAreDroppedWithoutAnAnswer) {
    for (const uint64_t cid : {uint64_t{0}, uint64_t{2}, uint64_t{4}, UINT64_MAX}) {
        PacketHeader request = Guest::header({5000, 1024}, kOpRequest);
        request.src_cid = cid;
        guest.send(request);
        request = Guest::header({5000, 1024}, kOpRequest);
        request.dst_cid = cid == 2 ? 3 : cid;
        guest.send(request);
    }
    EXPECT_EQ(guest.host.faults.size(), 8U);
    EXPECT_TRUE(guest.inbox.empty());
    EXPECT_TRUE(guest.accepted.empty());
    expect_serving();
}

TEST_F(HostileGuestTest, ALengthBeyondThePayloadResetsTheConnection) {
    PacketHeader data = Guest::header(guest.open(5000), kOpRw);
    data.len = 6;
    guest.send(data, "hello");
    expect_violation("length");
}

TEST_F(HostileGuestTest, AHugeLengthResetsTheConnection) {
    PacketHeader data = Guest::header(guest.open(5000), kOpRw);
    data.len = UINT32_MAX;
    guest.send(data, "hello");
    expect_violation("length");
}

TEST_F(HostileGuestTest, AControlPacketWithALengthResetsTheConnection) {
    PacketHeader update = Guest::header(guest.open(5000), kOpCreditUpdate);
    update.len = 4;
    guest.send(update, "1234");
    expect_violation("length");
}

TEST_F(HostileGuestTest, TakingBytesThatWereNotSentResetsTheConnection) {
    PacketHeader update = Guest::header(guest.open(5000), kOpCreditUpdate);
    update.fwd_cnt = 1;
    guest.send(update);
    expect_violation("credit");
}

TEST_F(HostileGuestTest, GivingTakenBytesBackResetsTheConnection) {
    const ConnectionKey key = guest.open(5000);
    ASSERT_EQ(::write(guest.accepted[0].get(), "hello", 5), 5);
    guest.run();
    EXPECT_EQ(guest.next(kOpRw).payload, "hello");
    PacketHeader update = Guest::header(key, kOpCreditUpdate);
    update.fwd_cnt = 5;
    guest.send(update);
    update.fwd_cnt = 4;
    guest.send(update);
    expect_violation("credit");
}

TEST_F(HostileGuestTest, MoreThanItsCreditResetsTheConnectionAndBoundsTheBuffer) {
    const ConnectionKey key = guest.open(5000);
    const std::string chunk(65536, 'x');
    PacketHeader data = Guest::header(key, kOpRw);
    data.len = 65536;
    size_t sent = 0;
    while (guest.host.faults.empty() && sent < (8U << 20)) {
        ASSERT_TRUE(guest.offer(data, chunk));
        sent += chunk.size();
    }
    // The socket's own buffer, and then no more than the credit.
    EXPECT_LE(sent, (256U << 10) + (512U << 10));
    guest.run();
    guest.inbox.erase(guest.inbox.begin(), guest.inbox.end() - 1);
    Guest::drain(guest.accepted[0]);
    expect_violation("credit");
}

TEST_F(HostileGuestTest, AnEndlessBufferAllocationIsNoLicence) {
    PacketHeader request = Guest::header({5000, 1024}, kOpRequest);
    request.buf_alloc = UINT32_MAX;
    guest.send(request);
    guest.inbox.clear();
    const std::string text(200'000, 'y');
    ASSERT_GT(::write(guest.accepted[0].get(), text.data(), text.size()), 0);
    guest.run();
    size_t bytes = 0;
    for (const auto& packet : guest.inbox) bytes += packet.payload.size();
    EXPECT_EQ(bytes, text.size());
}

TEST_F(HostileGuestTest, AShrunkBufferStopsTheHostAndGrowingItAgainGoesOn) {
    const ConnectionKey key = guest.open(5000);
    PacketHeader update = Guest::header(key, kOpCreditUpdate);
    update.buf_alloc = 0;
    guest.send(update);
    ASSERT_EQ(::write(guest.accepted[0].get(), "hello", 5), 5);
    guest.run();
    EXPECT_EQ(guest.next(kOpCreditRequest).header.op, kOpCreditRequest);
    EXPECT_TRUE(guest.inbox.empty());
    update.buf_alloc = 3;
    guest.send(update);
    EXPECT_EQ(guest.next(kOpRw).payload, "hel");
    EXPECT_TRUE(guest.host.faults.empty());
}

TEST_F(HostileGuestTest, DataAfterShutdownResetsTheConnection) {
    const ConnectionKey key = guest.open(5000);
    PacketHeader shutdown = Guest::header(key, kOpShutdown);
    shutdown.flags = kShutdownSend;
    guest.send(shutdown);
    PacketHeader data = Guest::header(key, kOpRw);
    data.len = 1;
    guest.send(data, "x");
    expect_violation("SHUTDOWN");
}

TEST_F(HostileGuestTest, ASecondRequestOrAResponseOutOfTurnResetsTheConnection) {
    for (const uint16_t op : {uint16_t{kOpRequest}, uint16_t{kOpResponse}, uint16_t{0}, uint16_t{8},
                              uint16_t{0xffff}}) {
        const ConnectionKey key = guest.open(5000);
        guest.send(Guest::header(key, op));
        EXPECT_EQ(guest.next(kOpRst).header.op, kOpRst) << op;
        EXPECT_EQ(guest.device.connections(), 0U);
    }
    EXPECT_EQ(guest.host.faults.size(), 5U);
    expect_serving();
}

TEST_F(HostileGuestTest, DataBeforeTheResponseFailsTheConnect) {
    auto [ours, its] = Guest::pair();
    bool failed = false;
    ASSERT_TRUE(guest.device.connect(1025, std::move(its),
                                     [&](const Status& status) { failed = status.has_error(); }));
    guest.run();
    PacketHeader data = Guest::header({1025, guest.next(kOpRequest).header.src_port}, kOpRw);
    data.len = 1;
    guest.send(data, "x");
    EXPECT_TRUE(failed);
    EXPECT_EQ(Guest::drain(ours), "");
    EXPECT_EQ(guest.next(kOpRst).header.op, kOpRst);
}

TEST_F(HostileGuestTest, AResponseToARequestThatWasNotSentIsNotBelieved) {
    guest.refill = false;
    Guest starved(Guest::Setup{.rx_buffers = 0});
    starved.start();
    auto [ours, its] = Guest::pair();
    bool failed = false;
    ASSERT_TRUE(starved.device.connect(1025, std::move(its),
                                       [&](const Status& s) { failed = s.has_error(); }));
    starved.send(Guest::header({1025, 1U << 30}, kOpResponse));
    EXPECT_TRUE(failed);
}

TEST_F(HostileGuestTest, PacketsForNoConnectionAreAnsweredWithResetsAndResetsAreNot) {
    for (uint16_t op = 2; op <= 7; ++op) guest.send(Guest::header({5000, 1024}, op));
    EXPECT_EQ(guest.inbox.size(), 5U);
    for (const auto& packet : guest.inbox) EXPECT_EQ(packet.header.op, kOpRst);
}

TEST_F(HostileGuestTest, AHeaderThatIsTooShortIsDropped) {
    const uint64_t address = guest.tx->put(std::string(43, 'x'));
    const Buffer buffer{address, 43, false};
    guest.tx->add(std::span(&buffer, 1));
    guest.device.on_notify(kTxQueue);
    guest.run();
    EXPECT_THAT(guest.host.faults, ElementsAre(HasSubstr("shorter")));
    expect_serving();
}

TEST_F(HostileGuestTest, AHeaderSplitByteByByteWorks) {
    const HeaderBytes bytes = encode_header(Guest::header({5000, 1024}, kOpRequest));
    std::vector<Buffer> parts;
    for (const std::byte byte : bytes)
        parts.push_back({guest.tx->put(std::string(1, static_cast<char>(byte))), 1, false});
    guest.tx->add_indirect(parts);
    guest.device.on_notify(kTxQueue);
    guest.run();
    EXPECT_EQ(guest.next(kOpResponse).header.op, kOpResponse);
}

TEST_F(HostileGuestTest, APacketInWritableBuffersIsDropped) {
    const Buffer buffer{guest.tx->allocate(128), 128, true};
    guest.tx->add(std::span(&buffer, 1));
    guest.device.on_notify(kTxQueue);
    guest.run();
    EXPECT_EQ(guest.host.faults.size(), 1U);
    expect_serving();
}

TEST_F(HostileGuestTest, ReceiveBuffersWithoutRoomAreGivenBack) {
    Guest small(Guest::Setup{.rx_buffers = 16, .rx_buffer_bytes = kHeaderBytes});
    small.refill = false;
    small.listen(1024);
    small.start();
    small.send(Guest::header({5000, 1024}, kOpRequest));
    EXPECT_EQ(small.host.faults.size(), 16U);
    EXPECT_EQ(small.rx->outstanding(), 0U);
    EXPECT_TRUE(small.inbox.empty());
}

TEST_F(HostileGuestTest, OneByteOfRoomIsEnough) {
    Guest small(Guest::Setup{.rx_buffers = 16, .rx_buffer_bytes = kHeaderBytes + 1});
    small.listen(1024);
    small.start();
    small.open(5000);
    ASSERT_EQ(::write(small.accepted[0].get(), "abc", 3), 3);
    small.run();
    EXPECT_EQ(small.next(kOpRw).payload, "a");
    EXPECT_EQ(small.next(kOpRw).payload, "b");
    EXPECT_EQ(small.next(kOpRw).payload, "c");
}

TEST_F(HostileGuestTest, AFloodWithoutReceiveBuffersIsHeldUpAndEveryAnswerArrivesInTheEnd) {
    Guest starved(Guest::Setup{.rx_buffers = 0});
    starved.start();
    uint32_t sent = 0;
    for (; sent < 10'000; ++sent) {
        if (!starved.offer(Guest::header({sent, 7}, kOpRequest))) break;
        starved.run();
    }
    EXPECT_LT(sent, 1000U);  // the device took no more than it can answer
    starved.give_rx_buffers(8);
    starved.run();
    for (uint32_t port = 0; port < sent; ++port) {
        ASSERT_EQ(starved.next(kOpRst).header.dst_port, port);
    }
    EXPECT_TRUE(starved.inbox.empty());
}

TEST_F(HostileGuestTest, AConnectionFloodStopsAtTheLimitAndTheRestIsRefused) {
    Guest flood(Guest::Setup{.options = {.max_connections = 100}});
    flood.listen(1024, 1000);
    flood.start();
    for (uint32_t port = 0; port < 5000; ++port)
        flood.send(Guest::header({port, 1024}, kOpRequest));
    EXPECT_EQ(flood.device.connections(), 100U);
    EXPECT_EQ(flood.accepted.size(), 100U);
    EXPECT_EQ(flood.inbox.size(), 5000U);
    auto [ours, its] = Guest::pair();
    const auto connect = flood.device.connect(1, std::move(its), [](const Status&) {});
    ASSERT_FALSE(connect);
    EXPECT_EQ(connect.error().code, ErrorCode::kLimit);
}

TEST_F(HostileGuestTest, OnePortsFloodLeavesOtherPortsRoom) {
    std::vector<Fd> ends;
    ASSERT_TRUE(guest.device.listen(9, 4, [&]() -> Result<Fd> {
        auto [ours, its] = Guest::pair();
        ends.push_back(std::move(ours));
        return std::move(its);
    }));
    for (uint32_t port = 0; port < 100; ++port) guest.send(Guest::header({port, 9}, kOpRequest));
    EXPECT_EQ(guest.device.connections(), 4U);
    expect_serving();
}

TEST_F(HostileGuestTest, OpeningAndResettingInALoopKeepsNothing) {
    for (uint32_t i = 0; i < 2000; ++i) {
        const ConnectionKey key = guest.open(i);
        guest.send(Guest::header(key, kOpRst));
        guest.accepted.clear();
    }
    EXPECT_EQ(guest.device.connections(), 0U);
    EXPECT_EQ(guest.loop.watches() + guest.loop.timers(), 0U);
}

TEST_F(HostileGuestTest, OpeningAndResettingWithoutReceiveBuffersIsBounded) {
    Guest starved(Guest::Setup{.rx_buffers = 0});
    starved.listen(1024, 16);
    starved.start();
    for (uint32_t i = 0; i < 3000; ++i) {
        if (!starved.offer(Guest::header({i, 1024}, kOpRequest))) break;
        if (!starved.offer(Guest::header({i, 1024}, kOpRequest))) break;  // a violation
        starved.run();
    }
    EXPECT_LT(starved.accepted.size(), 200U);
    starved.accepted.clear();
}

TEST_F(HostileGuestTest, HalfCloseInALoopDoesNotSpin) {
    const ConnectionKey key = guest.open(5000);
    PacketHeader shutdown = Guest::header(key, kOpShutdown);
    for (int i = 0; i < 1000; ++i) {
        shutdown.flags = i % 2 == 0 ? 0 : kShutdownSend;
        guest.send(shutdown);  // run() inside checks that the loop sleeps again
    }
    EXPECT_TRUE(Guest::at_end(guest.accepted[0]));
    // The host's end hangs up too; without receive buffers that can't be said, and isn't retried.
    guest.refill = false;
    while (guest.rx->outstanding() > 0) {
        ASSERT_EQ(::write(guest.accepted[0].get(), "x", 1), 1);
        guest.run();
    }
    guest.accepted.clear();
    guest.run();
    EXPECT_EQ(guest.loop.watches(), 0U);
}

TEST_F(HostileGuestTest, AGuestThatNeverDrainsStopsTheHostsWriterAndCostsNoTime) {
    guest.open(5000, 1024, 1000);  // credit for 1000 bytes, and never more
    const std::string text(65536, 'z');
    ssize_t written = 0;
    for (ssize_t n = 1; n > 0;) {
        n = ::write(guest.accepted[0].get(), text.data(), text.size());
        if (n > 0) written += n;
        guest.run();
    }
    EXPECT_LT(written, 1 << 20);
    size_t bytes = 0;
    for (const auto& packet : guest.inbox) bytes += packet.payload.size();
    EXPECT_EQ(bytes, 1000U);
    EXPECT_EQ(guest.loop.watches(), 0U);  // and run() saw that nothing is ready
}

TEST_F(HostileGuestTest, AnAvailIndexFarAheadStopsTheDeviceAndAResetBringsItBack) {
    guest.open(5000);
    guest.tx->set_avail_index(static_cast<uint16_t>(guest.tx->avail_index() + 1000));
    guest.device.on_notify(kTxQueue);
    EXPECT_EQ(guest.host.resets.size(), 1U);
    ASSERT_EQ(::write(guest.accepted[0].get(), "x", 1), 1);
    guest.loop.step();
    EXPECT_EQ(guest.loop.step(), 0U);  // no spinning on the socket
    guest.device.on_notify(kRxQueue);
    EXPECT_EQ(guest.host.resets.size(), 1U);
    guest.device.reset();

    guest.tx->set_avail_index(static_cast<uint16_t>(guest.tx->avail_index() - 1000));
    Guest fresh;
    fresh.listen(1024);
    fresh.start();
    fresh.open(5000);
}

TEST_F(HostileGuestTest, QueuesThatWereNotEnabledAreNotUsed) {
    Guest partial;
    partial.listen(1024);
    virtio::Activation activation;
    activation.host = &partial.host;
    partial.device.activate(std::move(activation));
    for (size_t queue = 0; queue < 5; ++queue) partial.device.on_notify(queue);
    auto [ours, its] = Guest::pair();
    ASSERT_TRUE(partial.device.connect(1, std::move(its), [](const Status&) {}));
    partial.device.transport_reset();
    partial.run();
    EXPECT_EQ(partial.device.queue(0), nullptr);
    EXPECT_EQ(partial.device.queue(7), nullptr);
}

TEST_F(HostileGuestTest, RandomPacketsNeverBreakTheDevice) {
    std::mt19937 engine(7);
    const auto random = [&] { return static_cast<uint32_t>(engine()); };
    for (int round = 0; round < 20'000; ++round) {
        PacketHeader header =
            Guest::header({random() % 4, 1023 + random() % 3}, static_cast<uint16_t>(random() % 9));
        if (random() % 16 == 0) header.type = static_cast<uint16_t>(random());
        header.flags = random() % 4;
        header.buf_alloc = random() % 8 == 0 ? random() : 100'000;
        header.fwd_cnt = random() % 16 == 0 ? random() % 100 : 0;
        const std::string payload(random() % 300, 'p');
        header.len = header.op == kOpRw ? static_cast<uint32_t>(payload.size()) : 0;
        if (random() % 32 == 0) header.len = random();
        guest.send(header, header.op == kOpRw ? payload : "");
        if (!guest.accepted.empty() && random() % 4 == 0) {
            Fd& end = guest.accepted[random() % guest.accepted.size()];
            if (random() % 2 == 0) Guest::drain(end);
            if (random() % 2 == 0)
                (void)::send(end.get(), payload.data(), payload.size(), MSG_NOSIGNAL);
            if (random() % 8 == 0) ::shutdown(end.get(), static_cast<int>(random() % 3));
            if (random() % 8 == 0) end = Fd();
        }
        std::erase_if(guest.accepted, [](const Fd& end) { return !end.valid(); });
        if (guest.accepted.size() > 64) guest.accepted.clear();
        guest.inbox.clear();
        if (round % 500 == 0) guest.loop.advance(std::chrono::seconds(3));
        ASSERT_LE(guest.device.connections(), 16U);
    }
    guest.accepted.clear();
    for (uint32_t port = 0; port < 4; ++port) guest.send(Guest::header({port, 1024}, kOpRst));
    guest.run();
    EXPECT_EQ(guest.device.connections(), 0U);
    EXPECT_TRUE(guest.host.resets.empty());
    expect_serving();
}

}  // namespace
}  // namespace drupe::vsock
