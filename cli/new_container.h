#pragma once

#include <string>

#include "api/client/client.h"
#include "cli/container_options.h"

namespace drupe::cli {

/// Has the daemon make a container; its id, which is in the --cidfile then, too. An image that
/// isn't there is pulled first, if --pull lets it be.
[[nodiscard]] Result<std::string> create_container(client::Client& client,
                                                   const ContainerOptions& options,
                                                   const engine::ContainerConfig& config);

}  // namespace drupe::cli
