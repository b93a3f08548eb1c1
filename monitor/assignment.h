#pragma once

#include <optional>

#include "base/fd.h"
#include "base/result.h"
#include "monitor/config.h"

namespace drupe {

/// The container of a machine that has been waiting for one (MonitorConfig::standby_fd): the whole
/// configuration, and all its descriptors but kernel and initramfs.
struct Assignment {
    MonitorConfig config;  ///< Its descriptors are the receiver's to close.
    Fd messages;           ///< What becomes the monitor's standard error; may be invalid.
};

/// Sends it as one packet. kLimit: it doesn't fit into one; os_errno EPIPE, ECONNRESET: the machine
/// is gone. messages: -1 for none. What is sent stays the caller's.
[[nodiscard]] Status send_assignment(int socket, const MonitorConfig& config, int messages);
/// Waits for one. nullopt: the other end is closed. An error closes what came with the packet.
[[nodiscard]] Result<std::optional<Assignment>> receive_assignment(int socket);

/// That a machine has taken its container in, and where an engine looks for it.
[[nodiscard]] Status confirm_assignment(int socket);
[[nodiscard]] Status await_confirmation(int socket, int limit_ms);

}  // namespace drupe
