#include "cli/text.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

namespace drupe::cli {
namespace {

/// A decimal number like "1.5" at the front, in billionths; what follows it stays in `text`.
std::optional<uint64_t> take_decimal(std::string_view& text) {
    constexpr uint64_t kBillion = 1'000'000'000;
    uint64_t whole = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), whole);
    if (error != std::errc() || whole > UINT64_MAX / kBillion / 2) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    uint64_t value = whole * kBillion;
    if (text.empty() || text.front() != '.') return value;
    text.remove_prefix(1);
    uint64_t unit = kBillion;
    while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
        unit /= 10;
        value += unit * static_cast<uint64_t>(text.front() - '0');
        text.remove_prefix(1);
    }
    return value;
}

/// Characters of UTF-8 text (not columns: that would need tables).
size_t width_of(std::string_view text) {
    size_t count = 0;
    for (const char c : text) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80 ? 1 : 0;
    return count;
}

}  // namespace

std::string binary_size(uint64_t bytes) {
    constexpr std::array kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    auto value = static_cast<double>(bytes);
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
    return fmt::format("{:.4g}{}", value, kUnits[unit]);
}

std::string human_size(uint64_t bytes) {
    constexpr std::array kUnits{"B", "kB", "MB", "GB", "TB", "PB"};
    auto size = static_cast<double>(bytes);
    size_t unit = 0;
    while (size >= 1000.0 && unit + 1 < kUnits.size()) {
        size /= 1000.0;
        ++unit;
    }
    return fmt::format("{:.3g}{}", size, kUnits[unit]);
}

Result<engine::RestartPolicy> parse_restart(std::string_view text) {
    const size_t colon = text.find(':');
    const auto kind = engine::parse_restart_kind(text.substr(0, colon));
    const Error bad{ErrorCode::kInvalid,
                    fmt::format("--restart {}: there are no, always, unless-stopped and "
                                "on-failure[:NUMBER]",
                                text)};
    if (!kind) return bad;
    engine::RestartPolicy policy{*kind, 0};
    if (colon == std::string_view::npos) return policy;
    const char* const end = text.data() + text.size();
    const auto read = std::from_chars(text.data() + colon + 1, end, policy.max_retries);
    const bool good = read.ec == std::errc() && read.ptr == end;
    if (!good || *kind != engine::RestartPolicy::Kind::kOnFailure) return bad;
    return policy;
}

Result<uint64_t> parse_cpus(std::string_view text) {
    std::string_view rest = text;
    const auto number = take_decimal(rest);
    if (!number || !rest.empty() || *number == 0) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("invalid number of CPUs '{}': write one like 2 or 1.5",
                                 text.substr(0, 32))};
    }
    return *number;
}

std::string Table::text() const {
    std::vector<size_t> widths;
    for (const auto& row : rows_) {
        widths.resize(std::max(widths.size(), row.size()));
        for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
    }
    std::string text;
    for (const auto& row : rows_) {
        for (size_t i = 0; i < row.size(); ++i) {
            text += row[i];
            if (i + 1 < row.size()) text.append(widths[i] - width_of(row[i]) + 3, ' ');
        }
        text += '\n';
    }
    return text;
}

std::string ellipsis(const std::string& text, size_t width) {
    if (width_of(text) <= width) return text;
    size_t characters = 0;
    size_t at = 0;
    while (at < text.size()) {
        if ((static_cast<unsigned char>(text[at]) & 0xc0) != 0x80 && characters++ == width - 1)
            break;
        ++at;
    }
    return text.substr(0, at) + "…";
}

}  // namespace drupe::cli
