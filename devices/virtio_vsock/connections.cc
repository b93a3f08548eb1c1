// The device's connections: what packets from the guest and events on sockets do to them.
#include <utility>

#include "base/check.h"
#include "devices/virtio_vsock/virtio_vsock.h"

namespace drupe::vsock {
namespace {

constexpr size_t kMaxListeners = 16;
constexpr uint32_t kFirstHostPort = 1U << 30;  // far from ports that anybody listens on

}  // namespace

Status VsockDevice::listen(uint32_t port, size_t max_connections, Accept accept) {
    if (port >= kFirstHostPort) return Error{ErrorCode::kInvalid, "vsock: port out of range"};
    if (listeners_.contains(port))
        return Error{ErrorCode::kConflict, "vsock: port is listened on already"};
    if (listeners_.size() >= kMaxListeners)
        return Error{ErrorCode::kLimit, "vsock: too many listeners"};
    listeners_.emplace(port, Listener{max_connections, 0, std::move(accept)});
    return ok();
}

Status VsockDevice::connect(uint32_t guest_port, Fd host_end,
                            std::function<void(Status)> on_result) {
    if (!running()) return Error{ErrorCode::kConflict, "vsock: the guest's driver isn't running"};
    if (connections_.size() >= options_.max_connections)
        return Error{ErrorCode::kLimit, "vsock: too many connections"};
    if (!can_reply()) return Error{ErrorCode::kLimit, "vsock: the guest takes no packets"};
    ConnectionKey key{guest_port, 0};
    do {
        key.host_port = kFirstHostPort + (next_host_port_++ % kFirstHostPort);
    } while (connections_.contains(key));
    auto connection = std::make_unique<Connection>(key, std::move(host_end), buffer_size());
    connection->state = Connection::State::kConnecting;
    connection->on_result = std::move(on_result);
    connection->pending = Connection::kSendRequest;
    connection->timer = loop_.after(options_.connect_timeout, [this, key] { on_timeout(key); });
    settle(*connections_.emplace(key, std::move(connection)).first->second);
    work_later();
    return ok();
}

uint32_t VsockDevice::buffer_size() const {
    return connections_.size() < options_.roomy ? options_.buf_alloc : options_.crowded_buf_alloc;
}

Connection* VsockDevice::find(const ConnectionKey& key) {
    const auto it = connections_.find(key);
    return it == connections_.end() ? nullptr : it->second.get();
}

// ---- packets from the guest

void VsockDevice::on_packet(const virtio::DescriptorChain& chain) {
    HeaderBytes bytes;
    if (chain.read(0, bytes) != bytes.size()) return fault("packet shorter than its header");
    const PacketHeader header = decode_header(bytes);
    if (header.src_cid != options_.guest_cid || header.dst_cid != kHostCid)
        return fault("packet with a CID that isn't the guest's or the host's");
    if (header.type != kTypeStream) return refuse(header);  // (virtio 1.2, 5.10.6.4.1)
    Connection* const connection = find({header.src_port, header.dst_port});
    const bool bad_length =
        header.op == kOpRw ? header.len > chain.readable_size() - kHeaderBytes : header.len != 0;
    if (bad_length) {
        if (connection != nullptr) return violation(*connection, "length that isn't there");
        fault("packet with a length that isn't there");
        return refuse(header);
    }
    if (connection != nullptr && connection->state != Connection::State::kDraining)
        return on_connection_packet(*connection, header, chain);
    if (connection == nullptr && header.op == kOpRequest) return on_request(header);
    refuse(header);
}

void VsockDevice::refuse(const PacketHeader& header) {
    if (header.op == kOpRst) return;
    resets_.push_back({{header.src_port, header.dst_port}, header.type});
}

void VsockDevice::on_request(const PacketHeader& header) {
    const auto it = listeners_.find(header.dst_port);
    if (it == listeners_.end()) return refuse(header);
    Listener& listener = it->second;
    if (listener.connections >= listener.max_connections ||
        connections_.size() >= options_.max_connections) {
        fault("more connections than a port takes");
        return refuse(header);
    }
    auto host_end = listener.accept();
    if (!host_end) return refuse(header);
    const ConnectionKey key{header.src_port, header.dst_port};
    auto connection = std::make_unique<Connection>(key, std::move(host_end).value(), buffer_size());
    connection->accepted = true;
    connection->pending = Connection::kSendResponse;
    if (!connection->credit.update_peer(header.buf_alloc, header.fwd_cnt)) {
        fault("REQUEST with bytes received already");
        return refuse(header);
    }
    ++listener.connections;
    settle(*connections_.emplace(key, std::move(connection)).first->second);
}

void VsockDevice::on_connection_packet(Connection& connection, const PacketHeader& header,
                                       const virtio::DescriptorChain& chain) {
    if (header.op == kOpRst) return on_rst(connection);
    if (!connection.credit.update_peer(header.buf_alloc, header.fwd_cnt))
        return violation(connection, "credit for bytes that weren't sent");
    if (connection.credit.available() > 0) connection.credit_requested = false;
    if (connection.state == Connection::State::kConnecting) {
        if (header.op != kOpResponse || !connection.requested)
            return violation(connection, "packet out of turn");
        connection.state = Connection::State::kOpen;
        connection.timer.reset();
        const auto on_result = std::exchange(connection.on_result, nullptr);
        settle(connection);
        return on_result(ok());
    }
    switch (header.op) {
        case kOpRw:
            return on_data(connection, header, chain);
        case kOpShutdown:
            connection.shut_by_guest(header.flags);
            break;
        case kOpCreditRequest:
            connection.pending |= Connection::kSendCreditUpdate;
            break;
        case kOpCreditUpdate:
            break;
        default:
            return violation(connection, "packet out of turn");
    }
    settle(connection);
}

void VsockDevice::on_rst(Connection& connection) {
    if (connection.state == Connection::State::kConnecting)
        return finish(connection, false, "the guest refused the connection");
    // What the guest sent before it hung up still belongs to the reader.
    connection.lost_by_guest();
    leave_listener(connection);
    settle(connection);
}

void VsockDevice::on_data(Connection& connection, const PacketHeader& header,
                          const virtio::DescriptorChain& chain) {
    if (connection.guest_ended()) return violation(connection, "data after SHUTDOWN");
    if (!connection.credit.received(header.len)) return violation(connection, "more than credit");
    iovecs_.clear();
    chain.readable_iovecs(kHeaderBytes, header.len, iovecs_);
    connection.write_to_host(iovecs_, header.len);
    settle(connection);
}

void VsockDevice::violation(Connection& connection, const std::string& what) {
    fault("connection broke the rules: " + what);
    finish(connection, connection.state != Connection::State::kDraining, what.c_str());
}

// ---- what follows from an event on a connection

void VsockDevice::settle(Connection& connection) {
    using State = Connection::State;
    if (connection.over()) {
        // The guest waits for an RST to forget a connection that it shut down (5.10.6.6).
        return finish(connection, connection.state == State::kOpen, "closed");
    }
    if (connection.state == State::kOpen && connection.starved_of_credit() &&
        !std::exchange(connection.credit_requested, true))
        connection.pending |= Connection::kSendCreditRequest;
    if (connection.has_output() && !std::exchange(connection.queued, true))
        ready_.push_back(&connection);
    update_watches(connection);
}

/// A watch that has become useless is dropped when it fires: dropping and making one costs more
/// than an event too many.
void VsockDevice::update_watches(Connection& connection) {
    if (quiet_ || connection.socket() < 0) return;
    const ConnectionKey key = connection.key;
    if (connection.wants_readable() && !connection.read_watch)
        connection.read_watch =
            loop_.on_readable(connection.socket(), [this, key] { on_socket_readable(key); });
    if (connection.has_unwritten() && !connection.write_watch)
        connection.write_watch =
            loop_.on_writable(connection.socket(), [this, key] { on_socket_writable(key); });
}

void VsockDevice::on_socket_readable(const ConnectionKey& key) {
    Connection* connection = find(key);
    DRUPE_CHECK(connection != nullptr);
    connection->readable = true;
    settle(*connection);
    send_packets();
    interrupt();
    connection = find(key);
    if (connection != nullptr && !connection->wants_readable()) connection->read_watch.reset();
}

void VsockDevice::on_socket_writable(const ConnectionKey& key) {
    Connection* connection = find(key);
    DRUPE_CHECK(connection != nullptr);
    connection->flush();
    if (!connection->has_unwritten()) connection->write_watch.reset();
    settle(*connection);
    send_packets();
    interrupt();
}

void VsockDevice::on_timeout(const ConnectionKey& key) {
    Connection* const connection = find(key);
    DRUPE_CHECK(connection != nullptr);
    finish(*connection, true, "the guest didn't answer in time");
    work_later();
}

/// One of the two sides is through with the connection: the guest may make another.
void VsockDevice::leave_listener(Connection& connection) {
    if (std::exchange(connection.accepted, false))
        --listeners_.at(connection.key.host_port).connections;
}

void VsockDevice::finish(Connection& connection, bool tell_guest, const char* why) {
    const ConnectionKey key = connection.key;
    const auto on_result = std::exchange(connection.on_result, nullptr);
    const bool known = connection.state != Connection::State::kConnecting || connection.requested;
    if (tell_guest && known) resets_.push_back({key});
    if (connection.queued) ready_.remove(&connection);
    leave_listener(connection);
    connections_.erase(key);
    if (on_result)
        on_result(Error{ErrorCode::kIo, "connect to port " + std::to_string(key.guest_port) +
                                            " of the guest: " + why});
}

void VsockDevice::finish_all(const char* why) {
    const auto connections = std::exchange(connections_, {});
    ready_.clear();
    resets_.clear();
    for (auto& [port, listener] : listeners_) listener.connections = 0;
    for (const auto& [key, connection] : connections) {
        if (connection->on_result)
            connection->on_result(Error{
                ErrorCode::kIo,
                "connect to port " + std::to_string(key.guest_port) + " of the guest: " + why});
    }
}

}  // namespace drupe::vsock
