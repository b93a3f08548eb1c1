#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace drupe::engine {

/// "64", "64m", "1.5g", "64MB", "64MiB" as bytes: powers of 1024, as Docker's RAM sizes.
[[nodiscard]] Result<uint64_t> parse_bytes(std::string_view text);

}  // namespace drupe::engine
