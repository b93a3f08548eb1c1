#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace drupe::engine {

/// CLOCK_REALTIME nanoseconds as Docker's API writes them: RFC 3339 without zeroes at the end of
/// the fraction, "2026-11-25T01:19:04.273056393Z"; 0 is year 1.
[[nodiscard]] std::string time_text(uint64_t at_ns);

/// The inverse: UTC ("Z") or with an offset ("+01:00"), with or without a fraction.
[[nodiscard]] std::optional<uint64_t> parse_time_text(std::string_view text);

/// "1h30m", "1.5s", "500ms" in nanoseconds, at most 100 years.
[[nodiscard]] std::optional<uint64_t> parse_duration(std::string_view text);

/// What --since and --until take: RFC 3339, a date, seconds since 1970 with a fraction, or how long
/// ago ("10m", "1h30m").
[[nodiscard]] std::optional<uint64_t> parse_moment(std::string_view text, uint64_t now_ns);

}  // namespace drupe::engine
