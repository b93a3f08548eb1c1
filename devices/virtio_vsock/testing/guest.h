#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "devices/virtio/testing/fake_driver.h"
#include "devices/virtio_vsock/testing/manual_loop.h"
#include "devices/virtio_vsock/virtio_vsock.h"

namespace drupe::vsock::testing {

inline constexpr uint64_t kGuestCid = 3;
inline constexpr size_t kRxQueue = 0;
inline constexpr size_t kTxQueue = 1;
inline constexpr size_t kEventQueue = 2;

struct Packet {
    PacketHeader header;
    std::string payload;
};

/// A machine with a vsock device and a driver by the book: notifies only when the device asked for
/// it, so that a lost notification is a hang. What it sends may be anything.
class Guest {
  public:
    struct Setup {
        bool event_idx = false;
        size_t rx_buffers = 32;
        uint32_t rx_buffer_bytes = 4096;
        Options options = {};
    };
    explicit Guest(Setup setup)
        : memory(make_memory()),
          device(loop, setup.options),
          setup_(std::move(setup)),
          rx(std::make_unique<virtio::testing::FakeDriver>(memory, place(0, 128))),
          tx(std::make_unique<virtio::testing::FakeDriver>(memory, place(1, 128))),
          events(std::make_unique<virtio::testing::FakeDriver>(memory, place(2, 8))) {
        for (unsigned i = 0; i < 64; ++i) tx_buffers_.push_back(tx->allocate(kTxBufferBytes));
        for (size_t i = 0; i < setup_.rx_buffers; ++i) give_rx_buffer(rx_address());
        for (unsigned i = 0; i < 4; ++i) {
            const virtio::testing::Buffer buffer{events->allocate(4), 4, true};
            events->add(std::span(&buffer, 1));
        }
    }
    Guest() : Guest(Setup{}) {}
    ~Guest() { device.reset(); }

    void start() {
        virtio::Activation activation;
        activation.features = device.info().features;
        activation.host = &host;
        const virtio::VirtQueue::Options options{128, setup_.event_idx, true};
        for (const auto* driver : {rx.get(), tx.get(), events.get()})
            activation.queues.emplace_back(
                virtio::VirtQueue::create(memory, driver->state(), options).value());
        device.activate(std::move(activation));
        run();
    }

    // Receive buffers.
    uint64_t rx_address() { return rx->allocate(setup_.rx_buffer_bytes); }
    void give_rx_buffer(uint64_t address) {
        const virtio::testing::Buffer buffer{address, setup_.rx_buffer_bytes, true};
        rx_heads_[rx->add(std::span(&buffer, 1))] = address;
    }
    void give_rx_buffers(size_t count) {
        for (size_t i = 0; i < count; ++i) give_rx_buffer(rx_address());
        if (rx->kick_needed()) device.on_notify(kRxQueue);
    }

    // Packets from the guest.
    [[nodiscard]] static PacketHeader header(ConnectionKey key, uint16_t op) {
        PacketHeader h;
        h.src_cid = kGuestCid;
        h.dst_cid = kHostCid;
        h.src_port = key.guest_port;
        h.dst_port = key.host_port;
        h.op = op;
        h.buf_alloc = 256 << 10;
        return h;
    }
    /// Puts a packet into the tx queue and kicks if that is wanted; false if the queue is full.
    bool offer(const PacketHeader& header, std::string_view payload = {}) {
        reap_tx();
        if (tx_buffers_.empty() || tx->free_descriptors() < 2) return false;
        const uint64_t address = tx_buffers_.back();
        tx_buffers_.pop_back();
        const HeaderBytes bytes = encode_header(header);
        memory.slice(address, bytes.size())->copy_from(bytes);
        DRUPE_CHECK(payload.size() <= kTxBufferBytes - kHeaderBytes);
        if (!payload.empty())
            memory.slice(address + kHeaderBytes, payload.size())
                ->copy_from(std::as_bytes(std::span(payload)));
        const virtio::testing::Buffer parts[] = {
            {address, kHeaderBytes, false},
            {address + kHeaderBytes, static_cast<uint32_t>(payload.size()), false}};
        tx_heads_[tx->add(std::span(parts, payload.empty() ? 1 : 2))] = address;
        if (tx->kick_needed()) device.on_notify(kTxQueue);
        return true;
    }
    /// The same, and everything that follows from it.
    void send(const PacketHeader& header, std::string_view payload = {}) {
        DRUPE_CHECK(offer(header, payload));
        run();
    }
    void reap_tx() {
        while (const auto used = tx->take_used()) {
            const auto it = tx_heads_.find(used->head);
            DRUPE_CHECK(used->length == 0);
            if (it == tx_heads_.end()) continue;
            tx_buffers_.push_back(it->second);
            tx_heads_.erase(it);
        }
    }

    /// Runs loop and device until both sleep, taking packets into the inbox. Aborts if they never
    /// do: that is a busy loop.
    void run() {
        for (unsigned i = 0;; ++i) {
            DRUPE_CHECK(i < 100'000);
            size_t work = loop.step();
            for (const size_t queue : std::exchange(host.later, {})) {
                device.on_notify(queue);
                ++work;
            }
            work += collect();
            if (work == 0) break;
        }
        // Asleep means asleep: nothing is ready, and nobody was told to call again.
        DRUPE_CHECK(loop.step() == 0 && host.later.empty());
    }
    size_t collect() {
        size_t packets = 0;
        while (const auto used = rx->take_used()) {
            const uint64_t address = rx_heads_.at(used->head);
            rx_heads_.erase(used->head);
            if (used->length != 0 && rx_intact) {
                DRUPE_CHECK(used->length >= kHeaderBytes);
                const std::string bytes = rx->get(address, used->length);
                HeaderBytes head;
                std::memcpy(head.data(), bytes.data(), head.size());
                Packet packet{decode_header(head), bytes.substr(kHeaderBytes)};
                DRUPE_CHECK(packet.header.len == packet.payload.size());
                DRUPE_CHECK(packet.header.src_cid == kHostCid);
                DRUPE_CHECK(packet.header.dst_cid == kGuestCid);
                inbox.push_back(std::move(packet));
                ++packets;
            }
            if (refill) {
                give_rx_buffer(address);
                if (rx->kick_needed()) device.on_notify(kRxQueue);
            }
        }
        return packets;
    }
    /// The next packet of an op, or one with op 0 if another one, or none, is next.
    Packet next(uint16_t op) {
        if (inbox.empty() || inbox.front().header.op != op) return {};
        Packet packet = std::move(inbox.front());
        inbox.pop_front();
        return packet;
    }
    /// Events so far.
    std::vector<uint32_t> take_events() {
        std::vector<uint32_t> ids;
        while (const auto used = events->take_used()) ids.push_back(used->length);
        return ids;
    }

    // The host's sides.
    /// Listens; the other ends of accepted connections appear in `accepted`.
    void listen(uint32_t port, size_t limit = 16) {
        DRUPE_CHECK(device
                        .listen(port, limit,
                                [this]() -> Result<Fd> {
                                    auto [ours, its] = pair();
                                    accepted.push_back(std::move(ours));
                                    return std::move(its);
                                })
                        .has_value());
    }
    static std::pair<Fd, Fd> pair() {
        FdPair ends = make_socketpair(SOCK_STREAM | SOCK_NONBLOCK).value();
        return {std::move(ends.first), std::move(ends.second)};
    }
    /// All that can be read now.
    static std::string drain(const Fd& fd, size_t max = SIZE_MAX) {
        std::string text;
        char buffer[65536];
        while (text.size() < max) {
            const ssize_t n = ::read(fd.get(), buffer, std::min(sizeof buffer, max - text.size()));
            if (n <= 0) break;
            text.append(buffer, static_cast<size_t>(n));
        }
        return text;
    }
    static bool at_end(const Fd& fd) {
        char c;
        return ::recv(fd.get(), &c, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
    }
    /// Opens a connection of the guest's: listens, asks, and takes the answer out of the inbox.
    ConnectionKey open(uint32_t guest_port, uint32_t port = 1024, uint32_t buf_alloc = 256 << 10) {
        const ConnectionKey key{guest_port, port};
        PacketHeader request = header(key, kOpRequest);
        request.buf_alloc = buf_alloc;
        send(request);
        DRUPE_CHECK(next(kOpResponse).header.op == kOpResponse);
        return key;
    }

    static constexpr uint32_t kTxBufferBytes = 65536 + kHeaderBytes;

    ManualLoop loop;
    virtio::testing::FakeHost host;
    GuestMemory memory;
    VsockDevice device;
    std::deque<Packet> inbox;
    std::vector<Fd> accepted;
    bool refill = true;  ///< Used receive buffers go back at once.
    /// The test has not pointed receive descriptors elsewhere: packets are where the driver looks.
    bool rx_intact = true;

  private:
    static constexpr uint64_t kQueueBytes = 8 << 20;
    static GuestMemory make_memory() {
        const GuestMemory::Range range{0, 32 << 20};
        return GuestMemory::create(std::span(&range, 1)).value();
    }
    [[nodiscard]] virtio::testing::FakeDriver::Options place(unsigned index, uint16_t size) const {
        return {0x10000 + index * kQueueBytes, kQueueBytes, size, setup_.event_idx};
    }

    Setup setup_;
    std::map<uint16_t, uint64_t> rx_heads_;
    std::map<uint16_t, uint64_t> tx_heads_;
    std::vector<uint64_t> tx_buffers_;

  public:
    std::unique_ptr<virtio::testing::FakeDriver> rx;
    std::unique_ptr<virtio::testing::FakeDriver> tx;
    std::unique_ptr<virtio::testing::FakeDriver> events;
};

}  // namespace drupe::vsock::testing
