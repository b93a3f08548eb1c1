#include "api/engine/time_text.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <ctime>

namespace drupe::engine {
namespace {

constexpr uint64_t kNano = 1'000'000'000;

/// Takes exactly `count` digits from the front.
bool take_digits(std::string_view& text, size_t count, int& out) {
    if (text.size() < count) return false;
    const auto [end, error] = std::from_chars(text.data(), text.data() + count, out);
    if (error != std::errc() || end != text.data() + count || text.front() == '-') return false;
    text.remove_prefix(count);
    return true;
}

bool take(std::string_view& text, char c) {
    if (text.empty() || text.front() != c) return false;
    text.remove_prefix(1);
    return true;
}

/// ".25" as nanoseconds; digits beyond the ninth are dropped.
uint64_t take_fraction(std::string_view& text) {
    if (!take(text, '.')) return 0;
    uint64_t nanoseconds = 0;
    uint64_t unit = kNano / 10;
    while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
        nanoseconds += static_cast<uint64_t>(text.front() - '0') * unit;
        unit /= 10;
        text.remove_prefix(1);
    }
    return nanoseconds;
}

/// "Z" or "+01:30": seconds east of Greenwich.
std::optional<int64_t> take_zone(std::string_view& text) {
    if (take(text, 'Z')) return 0;
    if (text.empty()) return std::nullopt;
    const int64_t sign = text.front() == '-' ? -1 : 1;
    int hours = 0;
    int minutes = 0;
    if (!take(text, '+') && !take(text, '-')) return std::nullopt;
    if (!take_digits(text, 2, hours) || !take(text, ':') || !take_digits(text, 2, minutes)) {
        return std::nullopt;
    }
    return sign * (hours * 3600 + minutes * 60);
}

/// The unit at the front, in nanoseconds; 0: none.
uint64_t take_unit(std::string_view& text) {
    constexpr std::array<std::pair<std::string_view, uint64_t>, 6> kUnits{{{"ms", 1'000'000},
                                                                           {"us", 1'000},
                                                                           {"ns", 1},
                                                                           {"h", 3600 * kNano},
                                                                           {"m", 60 * kNano},
                                                                           {"s", kNano}}};
    for (const auto& [name, ns] : kUnits) {
        if (!text.starts_with(name)) continue;
        text.remove_prefix(name.size());
        return ns;
    }
    return 0;
}

}  // namespace

std::string time_text(uint64_t at_ns) {
    constexpr const char* kNever = "0001-01-01T00:00:00Z";
    if (at_ns == 0) return kNever;
    const auto seconds = static_cast<time_t>(at_ns / kNano);
    tm utc{};
    if (gmtime_r(&seconds, &utc) == nullptr) return kNever;
    std::string text =
        fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", utc.tm_year + 1900, utc.tm_mon + 1,
                    utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
    if (at_ns % kNano != 0) {
        std::string fraction = fmt::format("{:09}", at_ns % kNano);
        fraction.erase(fraction.find_last_not_of('0') + 1);
        text += "." + fraction;
    }
    return text + "Z";
}

std::optional<uint64_t> parse_time_text(std::string_view text) {
    tm utc{};
    if (!take_digits(text, 4, utc.tm_year) || !take(text, '-') ||
        !take_digits(text, 2, utc.tm_mon) || !take(text, '-') ||
        !take_digits(text, 2, utc.tm_mday)) {
        return std::nullopt;
    }
    utc.tm_year -= 1900;
    utc.tm_mon -= 1;
    uint64_t fraction = 0;
    int64_t zone = 0;
    if (!text.empty()) {
        if (!take(text, 'T') || !take_digits(text, 2, utc.tm_hour) || !take(text, ':') ||
            !take_digits(text, 2, utc.tm_min) || !take(text, ':') ||
            !take_digits(text, 2, utc.tm_sec)) {
            return std::nullopt;
        }
        fraction = take_fraction(text);
        const auto east = take_zone(text);
        if (!east || !text.empty()) return std::nullopt;
        zone = *east;
    }
    const int64_t seconds = static_cast<int64_t>(timegm(&utc)) - zone;
    if (seconds < 0 || static_cast<uint64_t>(seconds) > UINT64_MAX / kNano - 1) return std::nullopt;
    return static_cast<uint64_t>(seconds) * kNano + fraction;
}

std::optional<uint64_t> parse_duration(std::string_view text) {
    constexpr uint64_t kLongestNs = uint64_t{100} * 365 * 86400 * kNano;
    if (text.empty()) return std::nullopt;
    uint64_t total = 0;
    while (!text.empty()) {
        uint64_t number = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        if (error != std::errc()) return std::nullopt;
        text.remove_prefix(static_cast<size_t>(end - text.data()));
        uint64_t fraction = take_fraction(text);
        const uint64_t unit = take_unit(text);
        if (unit == 0 || number > kLongestNs / unit) return std::nullopt;
        fraction = static_cast<uint64_t>(static_cast<double>(fraction) / kNano *
                                         static_cast<double>(unit));
        total += number * unit + fraction;
        if (total > kLongestNs) return std::nullopt;
    }
    return total;
}

std::optional<uint64_t> parse_moment(std::string_view text, uint64_t now_ns) {
    if (text.empty()) return std::nullopt;
    if (const auto time = parse_time_text(text)) return time;
    if (const auto ago = parse_duration(text)) return now_ns - std::min(now_ns, *ago);
    uint64_t seconds = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (error != std::errc() || seconds > UINT64_MAX / kNano - 1) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    const uint64_t fraction = take_fraction(text);
    if (!text.empty()) return std::nullopt;
    return seconds * kNano + fraction;
}

}  // namespace drupe::engine
