#pragma once

#include <string>
#include <vector>

#include "api/engine/container.h"
#include "guest-init/protocol.h"

namespace drupe::engine {

/// The variables of a session: Docker's defaults (PATH, HOSTNAME, TERM with a terminal), the
/// container's over them, `more` over those. HOME is the guest's to set: it knows the users.
[[nodiscard]] std::vector<std::string> session_environment(const Container& container,
                                                           const std::vector<std::string>& more,
                                                           bool tty);
[[nodiscard]] std::vector<protocol::ResourceLimit> session_limits(const ContainerConfig& config);
[[nodiscard]] std::string host_name_of(const Container& container);

}  // namespace drupe::engine
