#include "base/json_string.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/json_reader.h"

namespace drupe {
namespace {

constexpr std::string_view kEscaped = "\"\\\b\f\n\r\t";
constexpr std::string_view kLetters = "\"\\bfnrt";

/// Stands for itself in a JSON string.
constexpr auto kPlain = [] {
    std::array<bool, 256> plain{};
    for (size_t c = 0x20; c < 0x80; ++c) plain[c] = c != '"' && c != '\\';
    return plain;
}();

size_t plain_prefix(std::string_view text) {
    const auto end = std::find_if(text.begin(), text.end(),
                                  [](char c) { return !kPlain[static_cast<uint8_t>(c)]; });
    return static_cast<size_t>(end - text.begin());
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
    const size_t begin = out.size();
    out += '"';
    for (std::string_view rest = text;;) {
        const size_t plain = plain_prefix(rest);
        out += rest.substr(0, plain);
        if (plain == rest.size()) break;
        const size_t escape = kEscaped.find(rest[plain]);
        if (escape == std::string_view::npos) {
            out.resize(begin);
            out += dump_json(std::string(text));
            return;
        }
        out += '\\';
        out += kLetters[escape];
        rest.remove_prefix(plain + 1);
    }
    out += '"';
}

std::optional<std::string> plain_json_string(std::string_view inside) {
    std::string out;
    out.reserve(inside.size());
    for (;;) {
        const size_t plain = plain_prefix(inside);
        out += inside.substr(0, plain);
        if (plain == inside.size()) return out;
        if (inside[plain] != '\\' || plain + 1 == inside.size()) return std::nullopt;
        const size_t letter = kLetters.find(inside[plain + 1]);
        if (letter == std::string_view::npos) return std::nullopt;
        out += kEscaped[letter];
        inside.remove_prefix(plain + 2);
    }
}

bool is_nested_deeper(std::string_view json, size_t levels) {
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < json.size(); ++i) {
        const char c = json[i];
        if (in_string) {
            if (c == '\\') {
                ++i;
            } else if (c == '"') {
                in_string = false;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > levels) return true;
        } else if ((c == ']' || c == '}') && depth > 0) {
            --depth;
        }
    }
    return false;
}

}  // namespace drupe
