#pragma once

#include <string>

#include "api/daemon/networks.h"
#include "api/engine/container.h"

namespace drupe::endpoints {

/// Sees that the network of a container that is to be created exists and is one. endpoint: what
/// NetworkingConfig names, or empty; it is the container's network if HostConfig.NetworkMode is
/// "default". kNotFound: no such network; kUnsupported: they are two, or the host's.
[[nodiscard]] Status choose_network(daemon::Networks& networks, const std::string& endpoint,
                                    engine::ContainerConfig& config);

}  // namespace drupe::endpoints
