#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "api/engine/container.h"

namespace drupe::engine {

/// The container as Docker's API describes it (GET /containers/ID/json).
[[nodiscard]] nlohmann::ordered_json container_json(const Container& container,
                                                    std::string_view log_path);
[[nodiscard]] std::string inspect_json(const Container& container, std::string_view log_path);

/// A configuration as the body of POST /containers/create. Drupe's own options are labels.
[[nodiscard]] std::string create_json(const ContainerConfig& config);

/// The network that a container is of, by its name.
[[nodiscard]] std::string_view network_name(const ContainerConfig& config);
/// NetworkSettings.Networks. No network carries packets: an endpoint has no addresses.
[[nodiscard]] nlohmann::ordered_json networks_json(const ContainerConfig& config);

/// What an image's description is made of.
struct ImageDescription {
    std::string id;
    std::vector<std::string> references;
    std::string digest;  ///< Of its manifest; empty if it came without one.
    uint64_t size_bytes = 0;
    uint64_t tagged_ns = 0;
    std::string config;               ///< The OCI configuration's JSON.
    std::vector<std::string> layers;  ///< diff ids, bottom first
};
/// The image as Docker's API describes it (GET /images/NAME/json).
[[nodiscard]] Result<std::string> inspect_json(const ImageDescription& image);

}  // namespace drupe::engine
