#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"

namespace drupe {

/// The commands of drupe-import that talk to registries; words: the command and what follows it.
/// The last line is what they return.
[[nodiscard]] bool is_registry_command(const std::string& command);
[[nodiscard]] Result<nlohmann::json> run_registry_command(
    const std::string& root, const std::vector<std::string>& words,
    const std::function<void(const nlohmann::json&)>& say);

}  // namespace drupe
