#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "base/result.h"

namespace drupe::endpoints {

/// kUnsupported: "WHAT: Drupe can't do that yet".
[[nodiscard]] Error not_yet(std::string_view what);

/// An Error that names the first option of a HostConfig which is set and which we don't honour.
[[nodiscard]] Status refuse_options(const nlohmann::json& host_config);
/// The same of the members beside HostConfig, and of NetworkingConfig.
[[nodiscard]] Status refuse_config(const nlohmann::json& body);
[[nodiscard]] Status refuse_networking(const nlohmann::json& networking);

}  // namespace drupe::endpoints
