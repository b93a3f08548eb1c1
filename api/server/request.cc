#include "api/server/request.h"

#include <optional>

namespace drupe::http {
namespace {

constexpr size_t kMaxSegments = 64;
constexpr size_t kMaxParameters = 256;

std::optional<unsigned> hex(char c) {
    if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
    if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a') + 10;
    if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A') + 10;
    return std::nullopt;
}

/// plus: "+" is a space, as in queries.
Result<std::string> unescape(std::string_view text, bool plus) {
    std::string out;
    out.reserve(text.size());
    for (size_t i = 0; i < text.size(); ++i) {
        char c = text[i];
        if (c == '+' && plus) c = ' ';
        if (c == '%') {
            const auto high = i + 2 < text.size() ? hex(text[i + 1]) : std::nullopt;
            const auto low = i + 2 < text.size() ? hex(text[i + 2]) : std::nullopt;
            if (!high || !low) return Error{ErrorCode::kInvalid, "invalid URL escape"};
            c = static_cast<char>(*high << 4 | *low);
            i += 2;
        }
        if (c == '\0') return Error{ErrorCode::kInvalid, "a NUL byte in the URL"};
        out.push_back(c);
    }
    return out;
}

Status parse_query(std::string_view text, Request& out) {
    while (!text.empty()) {
        const size_t end = text.find('&');
        const std::string_view one = text.substr(0, end);
        text = end == std::string_view::npos ? "" : text.substr(end + 1);
        if (one.empty()) continue;
        if (out.query.size() >= kMaxParameters) {
            return Error{ErrorCode::kInvalid, "too many parameters in the URL"};
        }
        const size_t equals = one.find('=');
        TRY_ASSIGN(std::string name, unescape(one.substr(0, equals), true));
        std::string value;
        if (equals != std::string_view::npos) {
            TRY_ASSIGN(value, unescape(one.substr(equals + 1), true));
        }
        out.query.emplace(std::move(name), std::move(value));
    }
    return ok();
}

bool is_version(std::string_view segment) {
    return segment.size() > 1 && segment.front() == 'v' && segment[1] >= '0' && segment[1] <= '9' &&
           segment.find_first_not_of("0123456789.", 1) == std::string_view::npos;
}

}  // namespace

Status parse_target(std::string_view target, Request& out) {
    // Some clients send the absolute form.
    for (const std::string_view scheme : {"http://", "https://"}) {
        if (!target.starts_with(scheme)) continue;
        target.remove_prefix(scheme.size());
        const size_t slash = target.find('/');
        target = slash == std::string_view::npos ? "/" : target.substr(slash);
    }
    target = target.substr(0, target.find('#'));
    const size_t question = target.find('?');
    std::string_view path = target.substr(0, question);
    if (path.empty() || path.front() != '/') {
        return Error{ErrorCode::kInvalid, "the request's path doesn't begin with a slash"};
    }
    path.remove_prefix(1);
    while (!path.empty()) {
        const size_t end = path.find('/');
        TRY_ASSIGN(std::string segment, unescape(path.substr(0, end), false));
        if (out.path.size() >= kMaxSegments) {
            return Error{ErrorCode::kInvalid, "too many slashes in the URL"};
        }
        out.path.push_back(std::move(segment));
        path = end == std::string_view::npos ? "" : path.substr(end + 1);
    }
    if (!out.path.empty() && is_version(out.path.front())) {
        out.api_version = out.path.front().substr(1);
        out.path.erase(out.path.begin());
    }
    if (question == std::string_view::npos) return ok();
    return parse_query(target.substr(question + 1), out);
}

}  // namespace drupe::http
