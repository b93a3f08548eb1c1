#pragma once

#include <nlohmann/json.hpp>

#include "api/daemon/networks.h"

namespace drupe::endpoints {

/// The body of POST /networks/create. What inspect wouldn't show again is refused by its name.
[[nodiscard]] Result<daemon::Network> parse_network_body(const nlohmann::json& body);

}  // namespace drupe::endpoints
