#include "imagefs/oci/json.h"

#include <fmt/core.h>

#include <set>

#include "base/json_string.h"

namespace drupe::imagefs::oci {
namespace {

constexpr size_t kMaxBytes = 4 << 20;
constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxMembers = 65536;

Error wrong_type(const char* key, std::string_view wanted) {
    return {ErrorCode::kInvalid, fmt::format("'{}' is not {}", key, wanted)};
}

/// nullptr: not there.
const Json* member(const Json& object, const char* key) {
    if (!object.is_object()) return nullptr;
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
}

}  // namespace

Result<Json> parse_json(std::string_view text, std::string_view what) {
    if (text.size() > kMaxBytes) {
        return Error{ErrorCode::kLimit, fmt::format("{}: larger than 4 MiB", what)};
    }
    if (is_nested_deeper(text, kMaxDepth)) {
        return Error{ErrorCode::kLimit,
                     fmt::format("{}: nested deeper than {} levels", what, kMaxDepth)};
    }
    std::vector<std::set<std::string>> keys;
    std::string duplicate;
    const auto check = [&](int, Json::parse_event_t event, Json& parsed) {
        if (event == Json::parse_event_t::object_start) keys.emplace_back();
        if (event == Json::parse_event_t::object_end && !keys.empty()) keys.pop_back();
        if (event == Json::parse_event_t::key && !keys.empty()) {
            const auto& name = parsed.get_ref<const std::string&>();
            if (!keys.back().insert(name).second) duplicate = name;
        }
        return true;
    };
    Json json = Json::parse(text.begin(), text.end(), check, /*allow_exceptions=*/false);
    if (json.is_discarded() || !json.is_structured()) {
        return Error{ErrorCode::kInvalid, fmt::format("{}: not a JSON object or array", what)};
    }
    if (!duplicate.empty()) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("{}: the key '{}' occurs twice", what, duplicate.substr(0, 100))};
    }
    return json;
}

Result<std::optional<std::string>> string_member(const Json& object, const char* key) {
    const Json* value = member(object, key);
    if (value == nullptr) return std::optional<std::string>();
    if (!value->is_string()) return wrong_type(key, "a string");
    return std::optional<std::string>(value->get_ref<const std::string&>());
}

Result<std::optional<uint64_t>> unsigned_member(const Json& object, const char* key) {
    const Json* value = member(object, key);
    if (value == nullptr) return std::optional<uint64_t>();
    if (!value->is_number_unsigned()) return wrong_type(key, "a number from 0 to 2^64-1");
    return std::optional<uint64_t>(value->get<uint64_t>());
}

Result<const Json*> array_member(const Json& object, const char* key) {
    const Json* value = member(object, key);
    if (value != nullptr && (!value->is_array() || value->size() > kMaxMembers)) {
        return wrong_type(key, "an array of at most 65536");
    }
    return value;
}

Result<const Json*> object_member(const Json& object, const char* key) {
    const Json* value = member(object, key);
    if (value != nullptr && (!value->is_object() || value->size() > kMaxMembers)) {
        return wrong_type(key, "an object of at most 65536");
    }
    return value;
}

Result<std::vector<std::string>> strings_member(const Json& object, const char* key) {
    std::vector<std::string> list;
    TRY_ASSIGN(const Json* array, array_member(object, key));
    if (array == nullptr) return list;
    for (const Json& item : *array) {
        if (!item.is_string()) return wrong_type(key, "an array of strings");
        list.push_back(item.get_ref<const std::string&>());
    }
    return list;
}

Result<std::vector<std::string>> keys_member(const Json& object, const char* key) {
    std::vector<std::string> list;
    TRY_ASSIGN(const Json* map, object_member(object, key));
    if (map == nullptr) return list;
    for (const auto& [name, value] : map->items()) list.push_back(name);
    return list;
}

Result<std::vector<std::pair<std::string, std::string>>> map_member(const Json& object,
                                                                    const char* key) {
    std::vector<std::pair<std::string, std::string>> list;
    TRY_ASSIGN(const Json* map, object_member(object, key));
    if (map == nullptr) return list;
    for (const auto& [name, value] : map->items()) {
        if (!value.is_string()) return wrong_type(key, "an object of strings");
        list.emplace_back(name, value.get_ref<const std::string&>());
    }
    return list;
}

}  // namespace drupe::imagefs::oci
