#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <variant>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/result.h"
#include "guest-init/protocol.h"

namespace drupe::agent {

using Order =
    std::variant<protocol::Root, protocol::Identity, protocol::Start, protocol::Signal,
                 protocol::Resize, protocol::Forget, protocol::Limits, protocol::Freeze,
                 protocol::Suspend, protocol::Prepare, protocol::Thaw, protocol::Shutdown>;

inline constexpr size_t kMaxOutstandingOrders = 1024;
inline constexpr size_t kMaxQueuedOrderBytes = 4 << 20;  ///< Sent to a guest that reads nothing.
inline constexpr size_t kMaxOpenStreams = 3 * protocol::kMaxSessions;

/// Where the bytes of an output stream go. The caller's; must outlive the stream opened on it.
class OutputSink {
  public:
    virtual ~OutputSink() = default;
    /// Takes bytes from the front and says how many; those are acknowledged to the guest and never
    /// come again. Fewer than offered: the sink is full, and nothing is read from the guest for
    /// this stream until OutputStream::resume().
    [[nodiscard]] virtual size_t take(std::string_view bytes) = 0;
    /// The last call: success after the stream's last byte, or why no more will come. The stream
    /// may be destroyed in it.
    virtual void end(Status status) = 0;
};

/// An output stream that is being read. Destroying it stops that; the guest keeps what wasn't
/// taken.
class OutputStream {
  public:
    virtual ~OutputStream() = default;
    /// The sink has room again.
    virtual void resume() = 0;
    /// The offset of the first byte the sink hasn't taken: where to open it again.
    [[nodiscard]] virtual uint64_t offset() const = 0;
};

/// A session's stdin that is being written.
class InputStream {
  public:
    virtual ~InputStream() = default;
    /// Accepts bytes from the front and says how many: at most kStreamWindow are kept until the
    /// guest has handed them to the program. After fewer than offered, on_room is called.
    [[nodiscard]] virtual size_t write(std::string_view bytes) = 0;
    /// The end of the input, after what was written.
    virtual void close() = 0;
};
struct InputEvents {
    std::function<void()> on_room;  ///< write() takes bytes again.
    std::function<void(Status)>
        on_end;  ///< All was delivered after close(), or the stream is lost.
};

/// What the guest says on its own. Called on the loop's thread. Neither these nor the streams' and
/// the orders' callbacks may destroy the AgentSession (post() that).
struct AgentEvents {
    std::function<void(const protocol::Hello&)> on_hello;  ///< After each attach(); orders may go.
    /// Once for each session (repeats after a new connection are dropped here).
    std::function<void(const protocol::Exited&)> on_exited;
    std::function<void()> on_halted;  ///< The guest's last word; no on_lost follows.
    /// The control connection has ended; orders without an answer have failed. kCorrupt: the guest
    /// broke the protocol, and no connection of its will be accepted any more. Otherwise a new one
    /// may be attached, and open streams go on by themselves once it has said Hello.
    std::function<void(const Error&)> on_lost;
};

/// The host's end of the protocol with drupe-init: one for the life of a VM, on one loop.
/// Everything that comes from the guest is hostile: sizes, rates and states are bounded here, and a
/// guest that breaks a rule is hung up on.
///
/// States: waiting (no connection) -> attach() -> greeting -> Hello -> ready -> lost -> waiting, or
/// broken for good.
class AgentSession {
  public:
    /// Opens a connection to a port of the guest. The descriptor is usable at once (bytes written
    /// before the guest has accepted are queued by the device); a refusal shows as end of file.
    using Connector = std::function<Result<Fd>(uint32_t guest_port)>;
    /// Called exactly once: success, the guest's refusal (os_errno is its errno, the message its
    /// words), or why there is no answer.
    using OnAnswer = std::function<void(Status)>;

    virtual ~AgentSession() = default;

    /// Takes the connection that the guest made to kControlPort. kConflict while another one lives,
    /// kDenied once the guest broke the protocol.
    [[nodiscard]] virtual Status attach(Fd control) = 0;
    /// Said Hello, not lost.
    [[nodiscard]] virtual bool ready() const = 0;

    /// While the guest stands still no order's time passes (it starts anew when one is over), and
    /// no lost stream is opened again.
    virtual void hold(bool held) = 0;

    /// Sends an order. on_answer is called iff this succeeds, with kLimit when the time is over
    /// (what the guest does afterwards is ignored). Fails with kConflict when not ready(), kLimit
    /// when too many orders are unanswered or too many bytes unsent, kInvalid for an order that
    /// doesn't fit a frame.
    [[nodiscard]] virtual Status order(const Order& order, std::chrono::nanoseconds timeout,
                                       OnAnswer on_answer) = 0;

    /// Reads kStdout or kStderr of a started session from offset on, until its end. A lost
    /// connection is opened again by itself at the right offset; the stream ends with an error when
    /// the guest refuses it or loses connections again and again without any progress.
    /// Fails with kLimit for too many streams. The AgentSession must outlive the stream.
    [[nodiscard]] virtual Result<std::unique_ptr<OutputStream>> open_output(uint32_t session,
                                                                            protocol::Stream stream,
                                                                            uint64_t offset,
                                                                            OutputSink& sink) = 0;
    /// Writes kStdin of a session that was started with stdin_open.
    [[nodiscard]] virtual Result<std::unique_ptr<InputStream>> open_input(uint32_t session,
                                                                          InputEvents events) = 0;

    /// A session that runs in the guest already, started through another AgentSession (before a
    /// snapshot): its exit is accepted, and its input goes on where the guest is.
    virtual void expect_session(uint32_t session) = 0;

    /// How often the guest broke a rule, on the control connection or a stream.
    [[nodiscard]] virtual uint64_t violations() const = 0;
};

std::unique_ptr<AgentSession> make_agent_session(EventLoop& loop, AgentSession::Connector connector,
                                                 AgentEvents events);

}  // namespace drupe::agent
