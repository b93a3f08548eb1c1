#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace drupe::cli {

/// The conditions of --filter, "status=exited", as the API's `filters`. The daemon knows the keys.
/// kInvalid: not KEY=VALUE.
[[nodiscard]] Result<std::string> filters_json(const std::vector<std::string>& texts);

}  // namespace drupe::cli
