#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "guest-init/protocol.h"

namespace drupe {

/// A Start order as JSON: in the configuration and in exec requests.
[[nodiscard]] nlohmann::json start_to_json(const protocol::Start& start);
[[nodiscard]] Status start_from_json(const nlohmann::json& json, protocol::Start& start);

}  // namespace drupe
