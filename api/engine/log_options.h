#pragma once

#include <map>
#include <string>

#include "api/engine/container.h"

namespace drupe::engine {

inline constexpr uint32_t kMaxLogFiles = 20;

/// --log-driver and --log-opt, as Docker's "json-file", "local" and "none" take them: max-size and
/// max-file. kInvalid for what is malformed, kUnsupported for another driver or option.
[[nodiscard]] Result<LogOptions> parse_log_options(
    const std::string& driver, const std::map<std::string, std::string>& options);

}  // namespace drupe::engine
