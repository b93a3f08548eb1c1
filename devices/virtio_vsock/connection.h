#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/result.h"
#include "devices/virtio_vsock/credit.h"
#include "devices/virtio_vsock/packet.h"

namespace drupe::vsock {

/// Names a connection: the guest's CID and the host's are the same in all of them.
struct ConnectionKey {
    uint32_t guest_port = 0;
    uint32_t host_port = 0;
    bool operator==(const ConnectionKey&) const = default;
};

/// One stream between a guest port and a host socket: what is to be said to the guest, what the
/// guest sent that the socket hasn't taken yet, and which directions have ended. Knows the socket,
/// not the queues. On the device's loop only.
///
/// What is to be said is a set of flags and not a queue of packets, so that a guest that offers no
/// receive buffers costs no memory.
class Connection {
  public:
    enum class State : uint8_t {
        kConnecting,  ///< Ours; the guest hasn't answered.
        kOpen,
        kDraining,  ///< The guest is gone; its last bytes still wait for the socket.
    };
    enum Pending : uint8_t {
        kSendRequest = 1,
        kSendResponse = 2,
        kSendCreditUpdate = 4,
        kSendCreditRequest = 8,
        kSendShutdown = 16,
    };

    Connection(ConnectionKey name, Fd socket, uint32_t buf_alloc)
        : key(name), credit(buf_alloc), socket_(std::move(socket)) {}

    [[nodiscard]] int socket() const { return socket_.get(); }

    /// Payload from the guest, for which it had credit: as much as the socket takes at once goes
    /// straight there, the rest is kept. Consumes `parts`.
    void write_to_host(std::span<iovec> parts, size_t bytes);
    /// Writes what was kept.
    void flush();
    [[nodiscard]] bool has_unwritten() const { return unwritten_begin_ < unwritten_.size(); }

    /// Fills `parts` from the socket: how many bytes came. Clears `readable` when there is nothing
    /// more, and sees the stream's end.
    size_t read_from_host(std::span<iovec> parts);

    /// SHUTDOWN from the guest: flags add up.
    void shut_by_guest(uint32_t flags);
    /// The guest doesn't know this connection any more (RST).
    void lost_by_guest();

    /// There may be bytes to read, and the guest can take them.
    [[nodiscard]] bool can_send_data() const {
        return state == State::kOpen && readable && !host_ended_ && credit.available() > 0;
    }
    [[nodiscard]] bool starved_of_credit() const {
        return readable && !host_ended_ && credit.available() == 0;
    }
    [[nodiscard]] bool has_output() const { return pending != 0 || can_send_data(); }
    /// To be told when there are bytes to read.
    [[nodiscard]] bool wants_readable() const {
        return state == State::kOpen && !readable && !host_ended_ && credit.available() > 0;
    }
    /// Nothing more can come from the guest, and all that came is written.
    [[nodiscard]] bool guest_done() const { return guest_ended_ && !has_unwritten(); }
    /// The guest has finished with both directions, and all that it sent is written.
    [[nodiscard]] bool over() const { return guest_done() && guest_deaf_; }
    /// Flags for the next SHUTDOWN to the guest.
    [[nodiscard]] uint32_t shutdown_flags() const {
        return (host_deaf_ ? kShutdownReceive : 0) | (host_ended_ ? kShutdownSend : 0);
    }
    [[nodiscard]] bool guest_ended() const { return guest_ended_; }
    /// The socket has served: no byte can go either way any more (shutdown_flags() are both).
    void drop_socket();

    const ConnectionKey key;
    State state = State::kOpen;
    uint8_t pending = 0;            ///< Of Pending.
    bool readable = false;          ///< The socket may have bytes, or its end, to read.
    bool queued = false;            ///< In the device's list of connections with output.
    bool requested = false;         ///< Our REQUEST has reached the guest.
    bool accepted = false;          ///< The guest's; counts against its listener.
    bool credit_requested = false;  ///< Since there was credit the last time.
    Credit credit;
    std::function<void(Status)> on_result;  ///< While connecting.

  private:
    Fd socket_;  // before the watches on it: they end first

  public:
    EventLoop::Watch read_watch;
    EventLoop::Watch write_watch;
    EventLoop::Watch timer;

  private:
    void say(Pending what);
    void guest_bytes_gone(size_t bytes);
    void socket_refuses();
    void after_write();

    std::vector<std::byte> unwritten_;
    size_t unwritten_begin_ = 0;
    bool guest_ended_ = false;  // SHUTDOWN with kShutdownSend
    bool guest_deaf_ = false;   // SHUTDOWN with kShutdownReceive
    bool host_ended_ = false;   // the socket's end was read, or the guest doesn't listen
    bool host_deaf_ = false;    // the socket takes no more bytes
    bool told_end_ = false;     // shutdown(SHUT_WR) done
};

}  // namespace drupe::vsock
