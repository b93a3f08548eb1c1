#include "api/engine/commit_health.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <vector>

#include "api/engine/time_text.h"
#include "base/json_reader.h"

namespace drupe::engine {
namespace {

using nlohmann::json;

constexpr uint64_t kLeastNs = 1'000'000;

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

Status read_option(std::string_view word, json& check) {
    constexpr std::array<std::array<std::string_view, 2>, 4> kTimes{
        {{"--interval=", "Interval"},
         {"--timeout=", "Timeout"},
         {"--start-period=", "StartPeriod"},
         {"--start-interval=", "StartInterval"}}};
    for (const auto& [option, member] : kTimes) {
        if (!word.starts_with(option)) continue;
        const std::string_view text = word.substr(option.size());
        const auto ns = text == "0" ? std::optional<uint64_t>(0) : parse_duration(text);
        if (!ns) return bad(fmt::format("invalid duration in {}", word.substr(0, 64)));
        if (*ns != 0 && *ns < kLeastNs)
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
    const auto list = parse_json(text);
    const bool is_argv = list && list.value().is_array() && !list.value().empty() &&
                         std::all_of(list.value().begin(), list.value().end(),
                                     [](const json& word) { return word.is_string(); });
    if (!is_argv) return json::array({"CMD-SHELL", std::string(text)});
    json test = json::array({"CMD"});
    for (const json& word : list.value()) test.push_back(word);
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
