#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/json_string.h"
#include "base/result.h"

namespace drupe {

/// Parses text that may be anything: at most max_depth levels deep, no exceptions. nullopt if it
/// isn't JSON.
[[nodiscard]] inline Result<nlohmann::json> parse_json(std::string_view text,
                                                       size_t max_depth = 16) {
    const Error wrong{ErrorCode::kInvalid, "not valid JSON"};
    // Looked at beforehand: to be asked while it parses takes the library twice as long.
    if (is_nested_deeper(text, max_depth)) return wrong;
    auto value = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (value.is_discarded()) return wrong;
    return value;
}

/// Text for a JSON document, whatever bytes the strings in it hold.
[[nodiscard]] inline std::string dump_json(const nlohmann::json& value) {
    return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Reads the members of one JSON object. The first member of a wrong type or range is remembered;
/// after it everything is a default: read all, then ask status(). Members that are missing keep
/// their default.
class JsonReader {
  public:
    explicit JsonReader(const nlohmann::json& object, std::string where = "")
        : object_(object), where_(std::move(where)) {
        if (!object_.is_object()) fail("");
    }

    template <class T>
    void get(const char* name, T& out) {
        const nlohmann::json* value = find(name);
        if (value != nullptr) read(name, *value, out);
    }
    /// An object of numbers; members of other types are left out.
    void get_numbers(const char* name, std::map<std::string, uint64_t>& out) {
        const nlohmann::json* value = object(name);
        if (value == nullptr) return;
        for (const auto& [key, number] : value->items()) {
            if (number.is_number_unsigned()) out[key] = number.get<uint64_t>();
        }
    }
    template <class T>
    void get_list(const char* name, std::vector<T>& out, size_t max_count) {
        const nlohmann::json* value = find(name);
        if (value == nullptr) return;
        if (!value->is_array() || value->size() > max_count) return fail(name);
        out.clear();
        for (const auto& item : *value) {
            T element{};
            read(name, item, element);
            out.push_back(std::move(element));
        }
    }
    /// The member, an object or null if it is missing.
    [[nodiscard]] const nlohmann::json* object(const char* name) {
        const nlohmann::json* value = find(name);
        if (value != nullptr && !value->is_object()) fail(name);
        return ok_ ? value : nullptr;
    }

    void fail(const char* name) {
        if (!ok_) return;
        ok_ = false;
        bad_ = where_ + (where_.empty() || *name == '\0' ? "" : ".") + name;
    }
    void check(const Status& nested) {
        if (nested || !ok_) return;
        ok_ = false;
        nested_ = nested.error().message;
    }
    [[nodiscard]] Status status() const {
        if (ok_) return drupe::ok();
        if (!nested_.empty()) return Error{ErrorCode::kInvalid, nested_};
        return Error{ErrorCode::kInvalid,
                     "member \"" + bad_ + "\" is missing or has a wrong type or value"};
    }

  private:
    [[nodiscard]] const nlohmann::json* find(const char* name) {
        if (!ok_) return nullptr;
        const auto it = object_.find(name);
        return it == object_.end() || it->is_null() ? nullptr : &*it;
    }

    template <class T>
    void read(const char* name, const nlohmann::json& value, T& out) {
        if constexpr (std::is_same_v<T, bool>) {
            if (!value.is_boolean()) return fail(name);
            out = value.get<bool>();
        } else if constexpr (std::is_same_v<T, std::string>) {
            if (!value.is_string()) return fail(name);
            out = value.get_ref<const std::string&>();
        } else {
            static_assert(std::is_integral_v<T>);
            if (value.is_number_unsigned()) {
                const auto number = value.get<uint64_t>();
                if (number > static_cast<uint64_t>(std::numeric_limits<T>::max()))
                    return fail(name);
                out = static_cast<T>(number);
            } else if (value.is_number_integer() && std::is_signed_v<T>) {
                const auto number = value.get<int64_t>();
                if (number < static_cast<int64_t>(std::numeric_limits<T>::min())) return fail(name);
                out = static_cast<T>(number);
            } else {
                fail(name);
            }
        }
    }

    const nlohmann::json& object_;
    std::string where_;
    bool ok_ = true;
    std::string bad_;
    std::string nested_;
};

}  // namespace drupe
