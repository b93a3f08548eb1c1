#pragma once

#include <functional>
#include <string>

#include "api/client/client.h"
#include "cli/signals.h"

namespace drupe::cli {

/// A connection that a daemon gave away, as the streams of this process.
struct HijackedStreams {
    client::Hijacked connection;
    bool tty = false;
    bool with_stdin = false;
    std::string detach_keys;  ///< Of a terminal with stdin.
};

enum class StreamsEnd : uint8_t { kEnded, kDetached, kOutputLost };

/// Moves bytes between the connection and the standard streams until the daemon ends it, the keys
/// are typed, or nobody reads our output. on_signal gets each signal that comes, SIGWINCH too, and
/// returns false to leave (kDetached).
[[nodiscard]] Result<StreamsEnd> stay_with_streams(HijackedStreams streams, SignalPipe& signals,
                                                   const std::function<bool(int)>& on_signal);

}  // namespace drupe::cli
