#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace drupe::imagefs::registry {

[[nodiscard]] std::string base64_encode(std::string_view bytes);
/// nullopt: not base64 with padding.
[[nodiscard]] std::optional<std::string> base64_decode(std::string_view text);

}  // namespace drupe::imagefs::registry
