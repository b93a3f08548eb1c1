#include "api/endpoints/call.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/json_reader.h"

namespace drupe::endpoints {
namespace {

constexpr size_t kMaxFilterBytes = 64 << 10;

Error invalid_filter(std::string_view what) {
    return Error{ErrorCode::kInvalid, fmt::format("invalid filter '{}'", what.substr(0, 128))};
}

bool has_label(const std::map<std::string, std::string>& labels, const std::string& wanted) {
    const size_t equals = wanted.find('=');
    const auto found = labels.find(wanted.substr(0, equals));
    if (found == labels.end()) return false;
    return equals == std::string::npos || found->second == wanted.substr(equals + 1);
}

}  // namespace

Result<Filters> Filters::parse(const std::string& text,
                               const std::vector<std::string_view>& known) {
    Filters filters;
    if (text.empty()) return filters;
    if (text.size() > kMaxFilterBytes) return invalid_filter("longer than 64 KiB");
    const auto json = parse_json(text);
    if (!json || !json.value().is_object()) return invalid_filter(text);
    for (const auto& [name, values] : json.value().items()) {
        if (std::find(known.begin(), known.end(), name) == known.end()) return invalid_filter(name);
        auto& list = filters.values_[name];
        if (values.is_array()) {
            for (const auto& value : values) {
                if (!value.is_string()) return invalid_filter(name);
                list.push_back(value.get<std::string>());
            }
        } else if (values.is_object()) {
            for (const auto& [value, on] : values.items()) {
                if (!on.is_boolean()) return invalid_filter(name);
                if (on.get<bool>()) list.push_back(value);
            }
        } else {
            return invalid_filter(name);
        }
    }
    return filters;
}

const std::vector<std::string>& Filters::get(const std::string& name) const {
    static const std::vector<std::string> none;
    const auto found = values_.find(name);
    return found == values_.end() ? none : found->second;
}

bool Filters::any(const std::string& name,
                  const std::function<bool(const std::string&)>& condition) const {
    const auto& values = get(name);
    return values.empty() || std::any_of(values.begin(), values.end(), condition);
}

bool Filters::labels_match(const std::map<std::string, std::string>& labels) const {
    const auto matches = [&](const std::string& wanted) { return has_label(labels, wanted); };
    const auto& all = get("label");
    const auto& none = get("label!");
    return std::all_of(all.begin(), all.end(), matches) &&
           std::none_of(none.begin(), none.end(), matches);
}

Result<std::optional<bool>> Filters::boolean(const std::string& name) const {
    const auto& values = get(name);
    if (values.empty()) return std::optional<bool>();
    bool all_true = true;
    for (const std::string& value : values) {
        const bool on = value == "1" || value == "true" || value == "True" || value == "TRUE" ||
                        value == "t" || value == "T";
        const bool off = value == "0" || value == "false" || value == "False" || value == "FALSE" ||
                         value == "f" || value == "F";
        if (!on && !off) return invalid_filter(std::string(name).append("=").append(value));
        all_true = all_true && on;
    }
    return std::optional<bool>(all_true);
}

std::string Call::text(const std::string& name) const {
    const auto found = http.request().query.find(name);
    return found == http.request().query.end() ? "" : found->second;
}

bool Call::has(const std::string& name) const {
    return http.request().query.contains(name);
}

bool Call::flag(const std::string& name, bool missing) const {
    if (!has(name)) return missing;
    std::string value = text(name);
    std::transform(value.begin(), value.end(), value.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    return !(value.empty() || value == "0" || value == "no" || value == "false" || value == "none");
}

Result<std::optional<int64_t>> Call::number(const std::string& name) const {
    const std::string value = text(name);
    if (value.empty()) return std::optional<int64_t>();
    int64_t number = 0;
    const char* const end = value.data() + value.size();
    const auto parsed = std::from_chars(value.data(), end, number);
    if (parsed.ec != std::errc() || parsed.ptr != end) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("parameter {}: '{}' is no number", name, value.substr(0, 64))};
    }
    return std::optional(number);
}

std::vector<std::string> Call::list(const std::string& name) const {
    std::vector<std::string> values;
    const auto [from, to] = http.request().query.equal_range(name);
    for (auto at = from; at != to; ++at) values.push_back(at->second);
    return values;
}

Result<Filters> Call::filters(const std::vector<std::string_view>& known) const {
    return Filters::parse(text("filters"), known);
}

Result<nlohmann::json> Call::body() const {
    TRY_ASSIGN(const std::string text, http.read_whole_body(http.limits().json_bytes));
    if (text.find_first_not_of(" \t\r\n") == std::string::npos) return nlohmann::json::object();
    const std::string type = http.request().header("content-type");
    if (!type.empty() && type.find("json") == std::string::npos) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("unsupported Content-Type '{}': it has to be application/json",
                                 type.substr(0, 64))};
    }
    auto json = parse_json(text);
    if (json && json.value().is_null()) return nlohmann::json::object();  // of older clients
    if (!json || !json.value().is_object()) {
        return Error{ErrorCode::kInvalid, "invalid JSON: the body has to be one JSON object"};
    }
    return json;
}

Status Call::answer(unsigned status, const Json& json) const {
    return answer_text(status, dump(json) + "\n");
}

Status Call::answer(unsigned status) const {
    return http.reply(status, "", "");
}

Status Call::answer_text(unsigned status, std::string_view json) const {
    return http.reply(status, "application/json", json);
}

std::string dump(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void add(http::Router& router, daemon::Daemon& daemon, std::string_view method,
         std::string_view pattern, Endpoint endpoint) {
    router.add(method, pattern,
               [&daemon, endpoint](http::Exchange& http, const http::PathParameters& path) {
                   return endpoint(Call{daemon, http, path});
               });
}

}  // namespace drupe::endpoints
