#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace drupe::imagefs::oci {

using Json = nlohmann::json;

/// Parses a JSON object or array that anybody may have written: at most 4 MiB, 64 levels, no key
/// twice in an object (readers disagree which of the two counts). what names it in errors.
[[nodiscard]] Result<Json> parse_json(std::string_view text, std::string_view what);

// Members of an object. A member that is missing or null is nothing; one of another type is
// kInvalid.
[[nodiscard]] Result<std::optional<std::string>> string_member(const Json& object, const char* key);
[[nodiscard]] Result<std::optional<uint64_t>> unsigned_member(const Json& object, const char* key);
[[nodiscard]] Result<std::vector<std::string>> strings_member(const Json& object, const char* key);
/// The keys of an object whose values mean nothing ("ExposedPorts": {"80/tcp": {}}).
[[nodiscard]] Result<std::vector<std::string>> keys_member(const Json& object, const char* key);
[[nodiscard]] Result<std::vector<std::pair<std::string, std::string>>> map_member(
    const Json& object, const char* key);
/// An array's or object's member, nullptr if missing or null.
[[nodiscard]] Result<const Json*> array_member(const Json& object, const char* key);
[[nodiscard]] Result<const Json*> object_member(const Json& object, const char* key);

}  // namespace drupe::imagefs::oci
