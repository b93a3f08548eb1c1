#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "cli/signals.h"
#include "cli/streams.h"
#include "monitor/control_client.h"

namespace drupe::cli {

/// How a session in the foreground was left.
struct Left {
    bool detached = false;                ///< By its keys; it goes on.
    bool output_lost = false;             ///< Nobody reads our output any more; it goes on.
    std::optional<control::Reply> reply;  ///< To the wait request; unset: the monitor hung up.
};

/// Stays with a session until it has ended and the last byte of its output is written, forwards
/// signals to it, and its terminal's size.
class Foreground {
  public:
    /// sig_proxy: signals go to the session; otherwise TERM and the like end this command only.
    Foreground(Streams& streams, SignalPipe& signals, bool tty, bool sig_proxy)
        : streams_(streams), signals_(signals), tty_(tty), sig_proxy_(sig_proxy) {}

    /// wait_id: of a wait request for this session, sent already.
    [[nodiscard]] Result<Left> stay(ControlClient& client, uint32_t session, uint64_t wait_id);

  private:
    void on_signal(ControlClient& client, uint32_t session, int number);
    void send_size(ControlClient& client, uint32_t session);

    Streams& streams_;
    SignalPipe& signals_;
    bool tty_;
    bool sig_proxy_;
    bool quit_ = false;
};

}  // namespace drupe::cli
