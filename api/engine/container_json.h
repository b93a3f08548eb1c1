#pragma once

#include <string>
#include <string_view>

#include "api/engine/container.h"

namespace drupe::engine {

/// A ContainerConfig as the database keeps it. Bytes that aren't UTF-8 are replaced.
[[nodiscard]] std::string to_json(const ContainerConfig& config);
/// kCorrupt, naming the member, if the text isn't one.
[[nodiscard]] Result<ContainerConfig> parse_container_config(std::string_view json);

}  // namespace drupe::engine
