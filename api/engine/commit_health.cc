#include "api/engine/commit_health.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <vector>

namespace drupe::engine {
namespace {

using nlohmann::json;

constexpr double kLeastNs = 1e6;
constexpr double kMostNs = 9e18;

Error bad(std::string_view why) {
    return Error{ErrorCode::kInvalid, fmt::format("HEALTHCHECK: {}", why)};
}

std::string_view skip_spaces(std::string_view text) {
    const size_t at = text.find_first_not_of(" \t");
    return at == std::string_view::npos ? std::string_view() : text.substr(at);
}

/// The first word; text goes on behind it.
std::string_view take_word(std::string_view& text) {
    text = skip_spaces(text);
    const std::string_view word = text.substr(0, text.find_first_of(" \t"));
    text = skip_spaces(text.substr(word.size()));
    return word;
}

/// A duration as Go writes them: "1m30s", "1.5h", "0"; in nanoseconds.
std::optional<int64_t> parse_duration(std::string_view text) {
    struct Unit {
        std::string_view name;
        double ns;
    };
    // "ms" before "m".
    constexpr std::array<Unit, 6> kUnits{
        {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}}};
    if (text == "0") return 0;
    if (text.empty()) return std::nullopt;
    double total = 0;
    while (!text.empty()) {
        double count = 0;
        const auto end = text.data() + text.size();
        const auto parsed = std::from_chars(text.data(), end, count, std::chars_format::fixed);
        if (parsed.ec != std::errc() || count < 0) return std::nullopt;
        text.remove_prefix(static_cast<size_t>(parsed.ptr - text.data()));
        const Unit* found = nullptr;
        for (const Unit& unit : kUnits) {
            if (found == nullptr && text.starts_with(unit.name)) found = &unit;
        }
        if (found == nullptr) return std::nullopt;
        text.remove_prefix(found->name.size());
        total += count * found->ns;
        if (!(total < kMostNs)) return std::nullopt;
    }
    return static_cast<int64_t>(total);
}

Status read_option(std::string_view word, json& check) {
    constexpr std::array<std::array<std::string_view, 2>, 4> kTimes{
        {{"--interval=", "Interval"},
         {"--timeout=", "Timeout"},
         {"--start-period=", "StartPeriod"},
         {"--start-interval=", "StartInterval"}}};
    for (const auto& [option, member] : kTimes) {
        if (!word.starts_with(option)) continue;
        const auto ns = parse_duration(word.substr(option.size()));
        if (!ns) return bad(fmt::format("invalid duration in {}", word.substr(0, 64)));
        if (*ns != 0 && static_cast<double>(*ns) < kLeastNs)
            return bad(fmt::format("{} cannot be less than 1ms", word.substr(0, 64)));
        check[std::string(member)] = *ns;
        return ok();
    }
    constexpr std::string_view kRetries = "--retries=";
    if (!word.starts_with(kRetries)) return bad(fmt::format("unknown flag {}", word.substr(0, 64)));
    word.remove_prefix(kRetries.size());
    uint32_t count = 0;
    const auto parsed = std::from_chars(word.data(), word.data() + word.size(), count);
    if (parsed.ec != std::errc() || parsed.ptr != word.data() + word.size() || count > INT32_MAX)
        return bad("--retries must be a number");
    check["Retries"] = count;
    return ok();
}

/// A JSON list is a program with its arguments, anything else is for a shell.
json test_of(std::string_view text) {
    const json list = json::parse(text, nullptr, /*allow_exceptions=*/false);
    json test = json::array({"CMD-SHELL", std::string(text)});
    if (!list.is_array() || list.empty()) return test;
    test = json::array({"CMD"});
    for (const json& word : list) {
        if (!word.is_string()) return json::array({"CMD-SHELL", std::string(text)});
        test.push_back(word);
    }
    return test;
}

}  // namespace

Result<json> parse_healthcheck(std::string_view text) {
    json check = json::object();
    std::string_view word = take_word(text);
    for (; word.starts_with("--"); word = take_word(text)) {
        TRY(read_option(word, check));
    }
    std::string kind(word);
    for (char& c : kind) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    if (kind == "NONE") {
        if (!text.empty() || !check.empty()) return bad("NONE takes no arguments");
        return json{{"Test", json::array({"NONE"})}};
    }
    if (kind != "CMD") return bad("CMD or NONE is expected");
    if (text.empty()) return bad("missing command after CMD");
    check["Test"] = test_of(text);
    return check;
}

}  // namespace drupe::engine
