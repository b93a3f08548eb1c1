#pragma once

#include <functional>
#include <string>

#include "api/client/client.h"
#include "cli/signals.h"

namespace drupe::cli {

/// A connection that a daemon gave away, as the streams of this process.
struct RemoteStreams {
    client::Hijacked connection;
    bool tty = false;
    bool with_stdin = false;
    std::string detach_keys;  ///< Of a terminal with stdin.
};

enum class RemoteEnd : uint8_t { kEnded, kDetached, kOutputLost };

/// Moves bytes between the connection and the standard streams until the daemon ends it, the keys
/// are typed, or nobody reads our output. on_signal gets each signal that comes, SIGWINCH too, and
/// returns false to leave (kDetached).
[[nodiscard]] Result<RemoteEnd> stay_remote(RemoteStreams streams, SignalPipe& signals,
                                            const std::function<bool(int)>& on_signal);

}  // namespace drupe::cli
