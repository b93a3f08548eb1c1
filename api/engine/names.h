#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace drupe::engine {

/// 64 random hex digits, not all of them decimal in the first twelve (a host name of digits alone
/// would be read as a number by some programs).
[[nodiscard]] Result<std::string> random_id();
/// Bytes from the kernel's generator.
[[nodiscard]] Result<std::string> random_bytes(size_t count);
[[nodiscard]] std::string to_hex(std::string_view bytes);

/// "adjective_noun"; from the third attempt on with a digit behind it, so that a full name space
/// ends the search.
[[nodiscard]] std::string generated_name(uint64_t random, unsigned attempt);

/// [a-zA-Z0-9][a-zA-Z0-9_.-]+, at most 128 bytes; kInvalid says so.
[[nodiscard]] Status check_name(std::string_view name);

}  // namespace drupe::engine
