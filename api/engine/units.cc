#include "api/engine/units.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <string>

namespace drupe::engine {

Result<uint64_t> parse_bytes(std::string_view text) {
    const Error bad{ErrorCode::kInvalid,
                    fmt::format("invalid size '{}': write a number of bytes, or one with k, m or g "
                                "behind it, as in 512m",
                                text.substr(0, 32))};
    double number = 0;
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
    if (error != std::errc() || !(number >= 0)) return bad;
    std::string unit(rest, end);
    for (char& c : unit) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    if (unit.size() == 3 && unit.ends_with("ib")) unit.resize(1);
    if (unit.ends_with('b')) unit.pop_back();
    constexpr std::string_view kUnits = "kmgt";
    constexpr int kShift = 10;
    int shift = 0;
    if (!unit.empty()) {
        const size_t at = unit.size() == 1 ? kUnits.find(unit) : std::string_view::npos;
        if (at == std::string_view::npos) return bad;
        shift = kShift * static_cast<int>(at + 1);
    }
    const double bytes = std::ldexp(number, shift);
    if (bytes > 0x1p62) return bad;
    return static_cast<uint64_t>(bytes);
}

}  // namespace drupe::engine
