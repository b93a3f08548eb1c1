#pragma once

#include <memory>
#include <optional>

#include "base/event_loop.h"
#include "base/fd.h"
#include "guest-init/byte_ring.h"
#include "guest-init/frame_socket.h"
#include "guest-init/protocol.h"

namespace drupe::init {

/// A session's stdout or stderr: reads the pipe or the pty's master while fewer than kStreamWindow
/// bytes are unacknowledged, and sends to the connection that is attached, if one is.
class OutputStream {
  public:
    /// source: the read end of a pipe, or a pty's master (tty).
    OutputStream(EventLoop& loop, Fd source, bool tty);

    /// Makes this the stream's connection and says StreamOpened; the connection that was attached
    /// is closed. An offset whose bytes are gone or don't exist yet is answered with ERANGE.
    void attach(Fd connection, uint64_t offset);

    /// The session's first process has ended: what it wrote is still read and sent, but not what
    /// its orphans write from now on.
    void process_exited();

  private:
    void watch_source();
    void read_source();
    void finish();
    void send_more();
    [[nodiscard]] std::optional<size_t> consume(std::string_view bytes);

    EventLoop& loop_;
    Fd source_;
    bool tty_;
    protocol::ByteRing ring_;
    bool ended_ = false;          // the source has no more bytes
    bool eof_sent_ = false;       // on this connection
    uint64_t sent_ = 0;           // on this connection: up to this offset
    std::optional<size_t> left_;  // once the process has exited: how much is still read
    bool last_call_ = false;      // a tty whose process exited: an empty read is the end
    EventLoop::Watch source_watch_;
    EventLoop::Watch grace_;
    std::unique_ptr<protocol::FrameSocket> connection_;
};

}  // namespace drupe::init
