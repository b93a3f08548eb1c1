#include "api/endpoints/container_network.h"

#include <fmt/format.h>

namespace drupe::endpoints {
namespace {

constexpr std::string_view kDefault = "default";

Result<daemon::Network> find(daemon::Networks& networks, const std::string& name) {
    TRY_ASSIGN(auto network, networks.find(name == kDefault ? "bridge" : name));
    if (network.name != "host") return network;
    return Error{ErrorCode::kUnsupported,
                 fmt::format("network {} is not supported: each container is a machine of its own",
                             name.substr(0, 64))};
}

}  // namespace

Status choose_network(daemon::Networks& networks, const std::string& endpoint,
                      engine::ContainerConfig& config) {
    TRY_ASSIGN(const auto mode, find(networks, config.network_mode));
    if (endpoint.empty() || endpoint == config.network_mode) return ok();
    TRY_ASSIGN(const auto named, find(networks, endpoint));
    if (named.id == mode.id) return ok();
    if (config.network_mode == kDefault) {
        config.network_mode = named.name;
        return ok();
    }
    return Error{ErrorCode::kUnsupported,
                 fmt::format("several networks of a container (NetworkMode {}, EndpointsConfig {}) "
                             "are not supported yet",
                             mode.name, named.name)};
}

}  // namespace drupe::endpoints
