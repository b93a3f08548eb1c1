#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/result.h"
#include "devices/virtio/device.h"
#include "devices/virtio_vsock/connection.h"

namespace drupe::vsock {

struct Options {
    std::string name = "vsock";
    uint64_t guest_cid = 3;         ///< At least 3 (virtio 1.2, 5.10.4).
    size_t max_connections = 1024;  ///< Each holds one host descriptor.
    /// What the guest may have unread in a connection: buf_alloc bytes in the first `roomy`
    /// connections, crowded_buf_alloc in those beyond, so that all of them together are bounded.
    uint32_t buf_alloc = 256 << 10;
    uint32_t crowded_buf_alloc = 32 << 10;
    size_t roomy = 64;
    std::chrono::nanoseconds connect_timeout = std::chrono::seconds(5);
    /// How long a guest has to confirm the end of a connection that is over on the host's side.
    std::chrono::nanoseconds close_timeout = std::chrono::seconds(8);
};

/// virtio-vsock (virtio 1.2, 5.10) in user space: streams between ports of the guest and sockets of
/// this process. Everything happens on the loop's thread (read_config aside); nothing runs while no
/// bytes move.
///
/// A stream's host end is any stream socket, typically one of a socketpair; the device owns it from
/// then on, and the end of either direction crosses it (shutdown(2), end of file). Flow control is
/// end to end: what the guest sent and the host end doesn't take is bounded by the credit the guest
/// got, and nothing is read from a host end that the guest has no credit or buffers for.
///
/// quiesce() and resume() keep the connections. save() doesn't: after restore(), the guest is sent
/// TRANSPORT_RESET, which ends every connection it had, and both sides connect anew.
class VsockDevice final : public virtio::VirtioDevice {
  public:
    VsockDevice(EventLoop& loop, Options options);
    VsockDevice(const VsockDevice&) = delete;
    VsockDevice& operator=(const VsockDevice&) = delete;
    ~VsockDevice() override;

    /// Makes the host's end of a connection that the guest asks for; an error refuses it. May call
    /// listen() and connect(), and must not destroy the device.
    using Accept = std::function<Result<Fd>()>;
    /// Accepts the guest's connections to a port of the host, at most max_connections at a time.
    /// kConflict if somebody listens there already, kLimit if there are too many listeners.
    [[nodiscard]] Status listen(uint32_t port, size_t max_connections, Accept accept);

    /// Connects to a port of the guest. An error now is: not active, too many connections.
    /// Otherwise on_result is called once, on the loop: success, or refused, timed out, device
    /// reset; host_end is closed by then. It must not destroy the device.
    [[nodiscard]] Status connect(uint32_t guest_port, Fd host_end,
                                 std::function<void(Status)> on_result);

    /// While it is quiet: calls wake, once or more, when a host end has something for the guest, or
    /// takes what the guest sent before. Until resume(). Nothing if the guest has reset it.
    void watch_for_work(const std::function<void()>& wake);

    /// Ends every connection on both sides and tells the guest so (virtio 1.2, 5.10.6.7).
    void transport_reset();

    [[nodiscard]] size_t connections() const { return connections_.size(); }

    [[nodiscard]] const virtio::DeviceInfo& info() const override { return info_; }
    void read_config(uint32_t offset, std::span<std::byte> out) override;
    void write_config(uint32_t offset, std::span<const std::byte> data) override;
    void activate(virtio::Activation activation) override;
    void on_notify(size_t queue) override;
    void reset() override;
    [[nodiscard]] const virtio::VirtQueue* queue(size_t index) const override;
    void quiesce(std::function<void()> done) override;
    void resume() override;
    void save(Encoder& out) const override;
    [[nodiscard]] Status restore(Decoder& in) override;

  private:
    enum QueueIndex : uint8_t { kRx, kTx, kEvent, kQueues };
    struct Listener {
        size_t max_connections = 0;
        size_t connections = 0;
        Accept accept;
    };
    /// An RST for a connection that isn't in the table (any more).
    struct Reset {
        ConnectionKey key;
        uint16_t type = kTypeStream;
    };
    struct KeyHash {
        size_t operator()(const ConnectionKey& key) const {
            return std::hash<uint64_t>()(uint64_t{key.guest_port} << 32 | key.host_port);
        }
    };

    // Queues (virtio_vsock.cc).
    [[nodiscard]] bool running() const { return active_ && !quiet_ && !broken_; }
    [[nodiscard]] std::optional<virtio::VirtQueue>& ring(QueueIndex index) {
        return activation_.queues[index];
    }
    std::optional<virtio::DescriptorChain> pop(QueueIndex index);
    std::optional<virtio::DescriptorChain> pop_or_ask(QueueIndex index);
    void complete(QueueIndex index, virtio::DescriptorChain&& chain, uint32_t written);
    void interrupt();
    void fault(const std::string& what);
    void work();
    void work_later();
    void receive_packets();
    void send_packets();
    void send_event();
    [[nodiscard]] bool take_rx_chain();
    void put_packet(const PacketHeader& header);
    void put_packet_for(Connection& connection, Op op, uint32_t len = 0, uint32_t flags = 0);
    [[nodiscard]] PacketHeader header_to(const ConnectionKey& key, Op op) const;
    [[nodiscard]] bool can_reply() const;
    void send_for(Connection& connection);
    void send_data(Connection& connection);
    void retire_rx_chain();

    // Connections (connections.cc).
    void on_packet(const virtio::DescriptorChain& chain);
    void on_request(const PacketHeader& header);
    void on_connection_packet(Connection& connection, const PacketHeader& header,
                              const virtio::DescriptorChain& chain);
    void on_rst(Connection& connection);
    void on_data(Connection& connection, const PacketHeader& header,
                 const virtio::DescriptorChain& chain);
    void violation(Connection& connection, const std::string& what);
    void refuse(const PacketHeader& header);
    [[nodiscard]] Connection* find(const ConnectionKey& key);
    [[nodiscard]] uint32_t buffer_size() const;
    void settle(Connection& connection);
    void drop_watches();
    void update_watches(Connection& connection);
    void leave_listener(Connection& connection);
    void finish(Connection& connection, bool tell_guest, const char* why);
    void finish_all(const char* why);
    void on_socket_readable(const ConnectionKey& key);
    void on_socket_writable(const ConnectionKey& key);
    void on_timeout(const ConnectionKey& key);

    EventLoop& loop_;
    const Options options_;
    const virtio::DeviceInfo info_;

    virtio::Activation activation_;
    bool active_ = false;
    bool quiet_ = false;
    bool broken_ = false;  // a ring can't be trusted: until reset
    uint64_t reported_faults_[kQueues] = {};
    std::optional<virtio::DescriptorChain> rx_chain_;  // popped, nothing put into it yet
    std::vector<iovec> iovecs_;                        // scratch: no allocation per packet
    bool rx_starved_ = false;  // no receive buffers: the driver was asked to kick
    bool tx_held_ = false;     // too many resets wait for receive buffers
    bool event_pending_ = false;
    bool restored_ = false;  // the guest believes in connections of another process
    bool later_ = false;     // the host was asked to call again

    std::unordered_map<uint32_t, Listener> listeners_;
    std::unordered_map<ConnectionKey, std::unique_ptr<Connection>, KeyHash> connections_;
    std::list<Connection*> ready_;  // have output; each once (Connection::queued)
    std::deque<Reset> resets_;      // bounded: receive_packets() stops, connect() refuses
    uint32_t next_host_port_ = 0;
};

}  // namespace drupe::vsock
