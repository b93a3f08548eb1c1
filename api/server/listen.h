#pragma once

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace drupe::http {

/// A listening Unix socket at a path, for root and a group (0660; if there is no such group, for
/// root alone). A socket that nobody listens on any more is replaced; kConflict: somebody does.
[[nodiscard]] Result<Fd> listen_unix(const std::string& path, const std::string& group);

/// A listening TCP socket. HOST may be a name or an address, "[::1]" too.
[[nodiscard]] Result<Fd> listen_tcp(const std::string& host, const std::string& port);

/// The listening sockets that systemd has passed (sd_listen_fds(3)); none if it hasn't.
[[nodiscard]] Result<std::vector<Fd>> inherited_sockets();

/// Tells systemd that the daemon is ready (sd_notify(3)), if it wants to know.
void notify_ready();

}  // namespace drupe::http
