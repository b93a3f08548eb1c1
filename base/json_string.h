#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace drupe {

/// Appends a JSON string, quotes and all, as dump_json writes it: what is no UTF-8 becomes U+FFFD.
/// ASCII takes a table look-up a byte, a tenth of the library's way: a container's whole output
/// passes here.
void append_json_string(std::string& out, std::string_view text);

/// What a JSON string means, given what stands between its quotes, if that is ASCII with one-letter
/// escapes alone; nullopt: it isn't (or is malformed), ask parse_json.
[[nodiscard]] std::optional<std::string> plain_json_string(std::string_view inside);

/// Whether arrays and objects lie in each other more than so many levels deep, if the text is JSON.
[[nodiscard]] bool is_nested_deeper(std::string_view json, size_t levels);

}  // namespace drupe
