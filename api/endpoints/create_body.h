#pragma once

#include <nlohmann/json.hpp>

#include "api/engine/container.h"

namespace drupe::endpoints {

/// The body of POST /containers/create as a configuration. Each option is honoured or refused by
/// its name: kInvalid for what is malformed, kUnsupported for what a microVM of ours can't do
/// (yet).
[[nodiscard]] Result<engine::ContainerConfig> parse_create_body(const nlohmann::json& body);

struct NetworkEndpoint {
    std::string network;  ///< Empty: none is named.
    std::vector<std::string> aliases;
};
/// The one network that the body's NetworkingConfig names. kUnsupported: several, or an option of
/// its that isn't honoured.
[[nodiscard]] Result<NetworkEndpoint> parse_endpoint(const nlohmann::json& body);

/// {"Name": "on-failure", "MaximumRetryCount": 3}
[[nodiscard]] Result<engine::RestartPolicy> parse_restart_policy(const nlohmann::json& value);

}  // namespace drupe::endpoints
