#include "api/server/router.h"

#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/log.h"

namespace drupe::http {
namespace {

std::vector<std::string> split(std::string_view pattern) {
    std::vector<std::string> segments;
    while (pattern.starts_with('/')) {
        pattern.remove_prefix(1);
        const size_t end = pattern.find('/');
        segments.emplace_back(pattern.substr(0, end));
        pattern = end == std::string_view::npos ? "" : pattern.substr(end);
    }
    return segments;
}

bool is_placeholder(std::string_view segment) {
    return segment.size() > 2 && segment.front() == '{';
}

/// Matches pattern[at..] with path[from..]; fills out.
bool match(const std::vector<std::string>& pattern, size_t at, const std::vector<std::string>& path,
           size_t from, PathParameters& out) {
    if (at == pattern.size()) return from == path.size();
    if (from == path.size()) return false;
    const std::string_view segment = pattern[at];
    if (!is_placeholder(segment)) {
        return segment == path[from] && match(pattern, at + 1, path, from + 1, out);
    }
    std::string name(segment.substr(1, segment.size() - 2));
    if (!name.ends_with("...")) {
        out[name] = path[from];
        return !path[from].empty() && match(pattern, at + 1, path, from + 1, out);
    }
    name.resize(name.size() - 3);
    std::string value;
    for (size_t end = from; end < path.size(); ++end) {
        value += (value.empty() ? "" : "/") + path[end];
        if (!match(pattern, at + 1, path, end + 1, out)) continue;
        out[name] = value;
        return !value.empty();
    }
    return false;
}

struct Version {
    unsigned major = 0;
    unsigned minor = 0;
    [[nodiscard]] bool older_than(const Version& other) const {
        return major != other.major ? major < other.major : minor < other.minor;
    }
};

std::optional<Version> parse_version(std::string_view text) {
    Version version;
    const char* const end = text.data() + text.size();
    const auto major = std::from_chars(text.data(), end, version.major);
    if (major.ec != std::errc() || major.ptr == end || *major.ptr != '.') return std::nullopt;
    const auto minor = std::from_chars(major.ptr + 1, end, version.minor);
    if (minor.ec != std::errc() || minor.ptr != end) return std::nullopt;
    return version;
}

Status check_version(const Request& request) {
    if (!request.api_version) return ok();
    const auto asked = parse_version(*request.api_version);
    if (!asked) return Error{ErrorCode::kInvalid, "invalid API version " + *request.api_version};
    if (parse_version(kApiVersion)->older_than(*asked)) {
        return Error{
            ErrorCode::kInvalid,
            fmt::format("client version {} is too new. Maximum supported API version is {}",
                        *request.api_version, kApiVersion)};
    }
    if (asked->older_than(*parse_version(kOldestApiVersion))) {
        return Error{
            ErrorCode::kInvalid,
            fmt::format("client version {} is too old. Minimum supported API version is {}, "
                        "please upgrade your client to a newer version",
                        *request.api_version, kMinApiVersion)};
    }
    return ok();
}

}  // namespace

void Router::add(std::string_view method, std::string_view pattern, Route route) {
    entries_.push_back({std::string(method), split(pattern), std::move(route)});
}

void Router::handle(Exchange& exchange) const {
    const Request& request = exchange.request();
    auto done = check_version(request);
    if (done) {
        const Entry* found = nullptr;
        PathParameters parameters;
        for (const Entry& entry : entries_) {
            parameters.clear();
            if (!match(entry.pattern, 0, request.path, 0, parameters)) continue;
            if (entry.method != request.method) continue;
            found = &entry;
            break;
        }
        if (found != nullptr) {
            done = found->route(exchange, parameters);
        } else {  // a method that a path doesn't have, too: as dockerd's
            done = Error{ErrorCode::kNotFound, "page not found"};
        }
    }
    if (done || exchange.answered()) return;
    static_cast<void>(reply_error(exchange, done.error()));  // a client that has gone hears nothing
}

unsigned status_of(const Error& error) {
    switch (error.code) {
        case ErrorCode::kInvalid:
            return 400;
        case ErrorCode::kDenied:
            return 403;
        case ErrorCode::kNotFound:
            return 404;
        case ErrorCode::kConflict:
            return 409;
        case ErrorCode::kUnsupported:
            return 501;
        case ErrorCode::kLimit:
            return 503;
        case ErrorCode::kCorrupt:
        case ErrorCode::kIo:
        case ErrorCode::kInternal:
            break;
    }
    return 500;
}

Status reply_error(Exchange& exchange, const Error& error) {
    const unsigned status = status_of(error);
    if (status == 500) log(LogLevel::kWarn, "{}", error.message);
    const nlohmann::json body{{"message", error.message}};
    return exchange.reply(
        status, "application/json",
        body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace drupe::http
