#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace drupe::http {

/// The head of one HTTP request, as far as an endpoint wants to know it. Whatever it holds was
/// chosen by the client, within the server's limits.
struct Request {
    std::string method;
    /// Segments between the slashes, percent-decoded, without the API version's.
    std::vector<std::string> path;
    std::optional<std::string> api_version;  ///< "1.50" of "/v1.50/...".
    std::multimap<std::string, std::string> query;
    std::map<std::string, std::string> headers;  ///< Names in lower case.
    bool keep_alive = true;
    bool wants_upgrade = false;  ///< Connection: Upgrade.

    [[nodiscard]] std::string header(const std::string& name) const {
        const auto found = headers.find(name);
        return found == headers.end() ? "" : found->second;
    }
};

/// Splits a request's target into path, version and query. kInvalid, for people, if an escape is
/// broken or a NUL byte is in it.
[[nodiscard]] Status parse_target(std::string_view target, Request& out);

}  // namespace drupe::http
