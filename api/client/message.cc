#include "api/client/message.h"

#include <algorithm>

#include "base/json_reader.h"

namespace drupe::client {
namespace {

constexpr size_t kMaxMessage = 16 << 10;

bool is_unreserved(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

ErrorCode code_of(unsigned status) {
    switch (status) {
        case 400:
            return ErrorCode::kInvalid;
        case 401:
        case 403:
            return ErrorCode::kDenied;
        case 404:
            return ErrorCode::kNotFound;
        case 409:
            return ErrorCode::kConflict;
        case 413:
        case 429:
            return ErrorCode::kLimit;
        case 501:
            return ErrorCode::kUnsupported;
        default:
            return ErrorCode::kInternal;
    }
}

bool is_control(char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f;
}

}  // namespace

std::string Head::header(std::string_view lower_name) const {
    for (const auto& [name, value] : headers) {
        if (name == lower_name) return value;
    }
    return "";
}

std::string escape(std::string_view text) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    std::string out;
    for (const char c : text) {
        if (is_unreserved(c)) {
            out += c;
        } else {
            const auto byte = static_cast<unsigned char>(c);
            out += '%';
            out += kDigits[byte >> 4];
            out += kDigits[byte & 15];
        }
    }
    return out;
}

std::string target_of(const Request& request) {
    std::string target = request.path;
    char separator = '?';
    for (const auto& [name, value] : request.query) {
        target += separator + escape(name) + "=" + escape(value);
        separator = '&';
    }
    return target;
}

Error error_of(unsigned status, std::string_view body) {
    std::string message;
    if (const auto json = parse_json(body); json && json.value().is_object()) {
        const auto found = json.value().find("message");
        if (found != json.value().end() && found->is_string()) message = found->get<std::string>();
    }
    if (message.empty()) message = "the daemon answered with status " + std::to_string(status);
    if (message.size() > kMaxMessage) message.resize(kMaxMessage);
    std::replace_if(message.begin(), message.end(), is_control, '?');
    return Error{code_of(status), std::move(message)};
}

}  // namespace drupe::client
