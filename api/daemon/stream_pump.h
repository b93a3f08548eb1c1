#pragma once

#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"
#include "monitor/control.h"

namespace drupe::daemon {

/// A client's connection between its socket and a program's streams.
struct StreamPump {
    int client = -1;     ///< The caller's.
    std::string early;   ///< What the client has sent already.
    bool framed = true;  ///< Docker's frames around what goes to the client; a TTY has none.
    Fd to_stdin;         ///< Invalid: what the client sends is dropped.
    Fd from_stdout;      ///< Pipes; invalid: not wanted.
    Fd from_stderr;
    std::string detach_keys;  ///< Bytes; empty: none.

    enum class End : uint8_t { kOutputEnded, kClientGone, kDetached };
    /// Moves bytes both ways, each at the pace of who takes them, until the program's output has
    /// ended and was sent, the client has gone, or has typed the keys. Blocks.
    [[nodiscard]] End run();
};

/// Pipes for a client's streams: ours to be pumped, theirs for the monitor.
struct StreamPipes {
    StreamPump pump;
    control::Stdio theirs;
};
[[nodiscard]] Result<StreamPipes> make_stream_pipes(bool with_stdin, bool with_stdout,
                                                    bool with_stderr);

/// The head of a frame: stream 1 is stdout, 2 stderr.
[[nodiscard]] std::string frame_head(unsigned stream, size_t bytes);

}  // namespace drupe::daemon
