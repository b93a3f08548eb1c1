#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace drupe::cli {

/// Docker's --format, as much of it as scripts use: text with {{.Name}}, {{.State.Status}},
/// {{json .}} and {{json .Config.Env}}; \t and \n in the text are a tab and a line's end.
/// kInvalid: a name that isn't there, or anything else in braces.
[[nodiscard]] Result<std::string> render(std::string_view format, const nlohmann::json& value);

/// A list in a format: "json" is a document a line, "table ..." has a header of the names in upper
/// case and aligned columns, anything else is rendered once an item.
[[nodiscard]] Result<std::string> render_list(std::string_view format, const nlohmann::json& items);

}  // namespace drupe::cli
