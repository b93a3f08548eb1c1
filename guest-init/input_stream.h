#pragma once

#include <memory>
#include <optional>

#include "base/event_loop.h"
#include "base/fd.h"
#include "guest-init/byte_ring.h"
#include "guest-init/frame_socket.h"
#include "guest-init/protocol.h"

namespace drupe::init {

/// A session's stdin: takes at most kStreamWindow bytes ahead of the program, and acknowledges
/// those that the pipe or the pty has taken. Input for a program that doesn't read any more is
/// dropped.
class InputStream {
  public:
    /// sink: the write end of a pipe, or a pty's master (tty), which stays open at the input's end.
    InputStream(EventLoop& loop, Fd sink, bool tty);

    /// As OutputStream::attach(). offset: the first byte that the host still has.
    void attach(Fd connection, uint64_t offset);
    void process_exited() { drop_sink(); }

  private:
    void write_sink();
    void drop_sink();
    void acknowledge();
    [[nodiscard]] std::optional<size_t> consume(std::string_view bytes);

    EventLoop& loop_;
    Fd sink_;
    bool tty_;
    protocol::ByteRing ring_;  // received, not yet written
    uint64_t acknowledged_ = 0;
    bool eof_ = false;
    EventLoop::Watch sink_watch_;
    std::unique_ptr<protocol::FrameSocket> connection_;
};

}  // namespace drupe::init
