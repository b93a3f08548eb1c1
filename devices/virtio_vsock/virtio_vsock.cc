// The device's queues: packets in, packets out, events, and the device's life.
#include "devices/virtio_vsock/virtio_vsock.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace drupe::vsock {
namespace {

constexpr uint32_t kDeviceId = 19;                 // virtio 1.2, section 5
constexpr uint64_t kFeatureStream = 1;             // VIRTIO_VSOCK_F_STREAM
constexpr uint16_t kQueueSizes[] = {128, 128, 8};  // Linux fills all of rx, and 8 events
constexpr unsigned kPacketsPerTurn = 128;          // then others on the loop get theirs
constexpr size_t kMaxResets = 128;                 // then the guest has to take some first
constexpr uint8_t kStateVersion = 1;

}  // namespace

VsockDevice::VsockDevice(EventLoop& loop, Options options)
    : loop_(loop),
      options_(std::move(options)),
      info_{options_.name,
            kDeviceId,
            kFeatureStream,
            {std::begin(kQueueSizes), std::end(kQueueSizes)}} {
    DRUPE_CHECK(options_.guest_cid > kHostCid && options_.guest_cid < UINT32_MAX);
}

VsockDevice::~VsockDevice() {
    retire_rx_chain();
}

void VsockDevice::read_config(uint32_t offset, std::span<std::byte> out) {
    const uint64_t cid = options_.guest_cid;
    std::fill(out.begin(), out.end(), std::byte{0});
    if (offset >= sizeof cid) return;
    std::memcpy(out.data(), reinterpret_cast<const std::byte*>(&cid) + offset,
                std::min<size_t>(out.size(), sizeof cid - offset));
}

void VsockDevice::write_config(uint32_t /*offset*/, std::span<const std::byte> /*data*/) {}

void VsockDevice::activate(virtio::Activation activation) {
    DRUPE_CHECK(!active_);
    activation_ = std::move(activation);
    activation_.queues.resize(kQueues);
    std::fill(std::begin(reported_faults_), std::end(reported_faults_), 0);
    active_ = true;
    event_pending_ = restored_;
    restored_ = false;
    // Receive and event buffers matter only when there is something to put into them.
    if (ring(kRx)) ring(kRx)->disable_notifications();
    if (ring(kEvent)) ring(kEvent)->disable_notifications();
    work();
}

void VsockDevice::on_notify(size_t /*queue*/) {
    later_ = false;
    work();
}

const virtio::VirtQueue* VsockDevice::queue(size_t index) const {
    const bool there = index < activation_.queues.size() && activation_.queues[index];
    return there ? &*activation_.queues[index] : nullptr;
}

void VsockDevice::reset() {
    retire_rx_chain();
    active_ = quiet_ = broken_ = false;
    event_pending_ = tx_held_ = rx_starved_ = later_ = false;
    activation_ = {};
    finish_all("the guest reset the device");
}

void VsockDevice::quiesce(std::function<void()> done) {
    retire_rx_chain();  // nothing of ours stays in a saved queue
    if (active_) interrupt();
    quiet_ = true;
    drop_watches();
    done();
}

void VsockDevice::drop_watches() {
    for (const auto& [key, connection] : connections_) {
        connection->read_watch.reset();
        connection->write_watch.reset();
    }
}

void VsockDevice::watch_for_work(const std::function<void()>& wake) {
    if (!quiet_) return;  // the guest has reset it
    for (const auto& [key, connection] : connections_) {
        if (connection->socket() < 0) continue;
        if (connection->wants_readable())
            connection->read_watch = loop_.on_readable(connection->socket(), wake);
        if (connection->has_unwritten())
            connection->write_watch = loop_.on_writable(connection->socket(), wake);
    }
}

void VsockDevice::resume() {
    if (std::exchange(quiet_, false)) drop_watches();  // those of watch_for_work()
    event_pending_ = event_pending_ || (active_ && std::exchange(restored_, false));
    for (const auto& [key, connection] : connections_) update_watches(*connection);
    work();
}

void VsockDevice::save(Encoder& out) const {
    out.put(kStateVersion);
    out.put(options_.guest_cid);
}

Status VsockDevice::restore(Decoder& in) {
    const auto version = in.get<uint8_t>();
    const auto guest_cid = in.get<uint64_t>();
    if (!in.ok() || version != kStateVersion)
        return Error{ErrorCode::kCorrupt, "vsock state: not version 1 of it"};
    if (guest_cid != options_.guest_cid)
        return Error{ErrorCode::kInvalid, "vsock state: of a guest with another CID"};
    restored_ = true;
    return ok();
}

void VsockDevice::transport_reset() {
    finish_all("transport reset");
    event_pending_ = active_;
    work_later();
}

// ---- queues

std::optional<virtio::DescriptorChain> VsockDevice::pop(QueueIndex index) {
    if (broken_ || !ring(index)) return std::nullopt;
    virtio::VirtQueue& from = *ring(index);
    auto chain = from.pop();
    if (from.faults() != reported_faults_[index]) {
        reported_faults_[index] = from.faults();
        fault(from.last_fault());
    }
    if (chain) return std::move(chain).value();
    broken_ = true;
    activation_.host->needs_reset(chain.error().message);
    return std::nullopt;
}

std::optional<virtio::DescriptorChain> VsockDevice::pop_or_ask(QueueIndex index) {
    for (int attempt = 0; attempt < 2; ++attempt) {
        if (auto chain = pop(index)) return chain;
        if (broken_ || !ring(index) || !ring(index)->enable_notifications()) return std::nullopt;
    }
    work_later();  // chains keep coming, and none is usable
    return std::nullopt;
}

void VsockDevice::complete(QueueIndex index, virtio::DescriptorChain&& chain, uint32_t written) {
    ring(index)->complete(std::move(chain), written);
}

void VsockDevice::interrupt() {
    bool wanted = false;
    for (const QueueIndex index : {kRx, kTx, kEvent})
        if (ring(index) && ring(index)->needs_interrupt()) wanted = true;
    if (wanted) activation_.host->used_buffers();
}

void VsockDevice::fault(const std::string& what) {
    activation_.host->guest_fault(what);
}

void VsockDevice::work() {
    if (!running()) return;
    receive_packets();
    send_packets();
    send_event();
    interrupt();
}

void VsockDevice::work_later() {
    if (running() && !std::exchange(later_, true)) activation_.host->notify_later(kTx);
}

void VsockDevice::receive_packets() {
    if (tx_held_) return;
    if (ring(kTx)) ring(kTx)->disable_notifications();
    for (unsigned i = 0; i < kPacketsPerTurn; ++i) {
        // Answers to a flood wait for the guest to take some: it is slowed and nothing grows.
        tx_held_ = !can_reply();
        if (tx_held_) return;
        auto chain = pop_or_ask(kTx);
        if (!chain) return;
        on_packet(*chain);
        complete(kTx, std::move(*chain), 0);
    }
    work_later();
}

bool VsockDevice::can_reply() const {
    return resets_.size() < kMaxResets;
}

bool VsockDevice::take_rx_chain() {
    // Malformed buffers are given back; no more of them in a turn than the queue holds.
    for (unsigned i = 0; i < kQueueSizes[kRx] && !rx_chain_; ++i) {
        auto chain = pop_or_ask(kRx);
        if (!chain) {
            rx_starved_ = true;
            return false;
        }
        if (chain->writable_size() > kHeaderBytes) {
            rx_chain_ = std::move(chain);
        } else {
            fault("receive buffer has no room for a packet");
            complete(kRx, std::move(*chain), 0);
        }
    }
    if (rx_chain_ && std::exchange(rx_starved_, false)) ring(kRx)->disable_notifications();
    if (!rx_chain_) work_later();
    return rx_chain_.has_value();
}

void VsockDevice::retire_rx_chain() {
    if (!rx_chain_) return;
    complete(kRx, std::move(*rx_chain_), 0);
    rx_chain_.reset();
}

void VsockDevice::put_packet(const PacketHeader& header) {
    rx_chain_->write(0, encode_header(header));
    complete(kRx, std::move(*rx_chain_), static_cast<uint32_t>(kHeaderBytes) + header.len);
    rx_chain_.reset();
}

void VsockDevice::send_packets() {
    for (unsigned i = 0; !resets_.empty() || !ready_.empty(); ++i) {
        if (i == kPacketsPerTurn) {
            work_later();
            break;
        }
        if (!take_rx_chain()) break;
        if (!resets_.empty()) {
            const Reset reset = resets_.front();
            resets_.pop_front();
            PacketHeader header = header_to(reset.key, kOpRst);
            header.type = reset.type;
            put_packet(header);
            continue;
        }
        Connection& connection = *ready_.front();
        ready_.pop_front();
        connection.queued = false;
        send_for(connection);
        settle(connection);
    }
    if (tx_held_ && can_reply()) {
        tx_held_ = false;
        work_later();
    }
}

PacketHeader VsockDevice::header_to(const ConnectionKey& key, Op op) const {
    PacketHeader header;
    header.src_cid = kHostCid;
    header.dst_cid = options_.guest_cid;
    header.src_port = key.host_port;
    header.dst_port = key.guest_port;
    header.op = op;
    return header;
}

void VsockDevice::put_packet_for(Connection& connection, Op op, uint32_t len, uint32_t flags) {
    PacketHeader header = header_to(connection.key, op);
    header.len = len;
    header.flags = flags;
    header.buf_alloc = connection.credit.buf_alloc();
    header.fwd_cnt = connection.credit.fwd_cnt();
    connection.credit.told();
    connection.pending &= static_cast<uint8_t>(~Connection::kSendCreditUpdate);
    put_packet(header);
}

void VsockDevice::send_for(Connection& connection) {
    const auto take = [&](Connection::Pending what) {
        const bool there = (connection.pending & what) != 0;
        connection.pending &= static_cast<uint8_t>(~what);
        return there;
    };
    if (take(Connection::kSendRequest)) {
        connection.requested = true;
        put_packet_for(connection, kOpRequest);
    } else if (take(Connection::kSendResponse)) {
        put_packet_for(connection, kOpResponse);
    } else if (take(Connection::kSendShutdown)) {
        // The flag for sending is set only when nothing is left to send.
        const uint32_t flags = connection.shutdown_flags();
        put_packet_for(connection, kOpShutdown, 0, flags);
        if (flags != kShutdownBoth) return;
        connection.drop_socket();
        leave_listener(connection);
        connection.timer =
            loop_.after(options_.close_timeout, [this, key = connection.key] { on_timeout(key); });
    } else if (connection.can_send_data()) {
        send_data(connection);
    } else if (take(Connection::kSendCreditRequest)) {
        put_packet_for(connection, kOpCreditRequest);
    } else if (take(Connection::kSendCreditUpdate)) {
        put_packet_for(connection, kOpCreditUpdate);
    }
}

void VsockDevice::send_data(Connection& connection) {
    const uint64_t room = rx_chain_->writable_size() - kHeaderBytes;
    iovecs_.clear();
    rx_chain_->writable_iovecs(kHeaderBytes,
                               std::min<uint64_t>(room, connection.credit.available()), iovecs_);
    const size_t n = connection.read_from_host(iovecs_);
    if (n == 0) return;  // the buffer waits for the next packet
    connection.credit.sent(static_cast<uint32_t>(n));
    put_packet_for(connection, kOpRw, static_cast<uint32_t>(n));
}

void VsockDevice::send_event() {
    if (!event_pending_) return;
    auto chain = pop_or_ask(kEvent);
    if (!chain) return;
    const uint32_t event = kEventTransportReset;
    const size_t written = chain->write(0, std::as_bytes(std::span(&event, 1)));
    complete(kEvent, std::move(*chain), static_cast<uint32_t>(written));
    if (written != sizeof event) return fault("event buffer has no room for an event");
    event_pending_ = false;
}

}  // namespace drupe::vsock
