#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "base/result.h"

namespace drupe::engine {

/// What follows HEALTHCHECK in a Dockerfile ("--interval=1m30s CMD true", "NONE"), as the member
/// `Healthcheck` of an image's config. kInvalid, with Docker's bounds: no time below a millisecond.
[[nodiscard]] Result<nlohmann::json> parse_healthcheck(std::string_view text);

}  // namespace drupe::engine
