#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "api/server/exchange.h"

namespace drupe::http {

/// What a pattern's placeholders stand for.
using PathParameters = std::map<std::string, std::string>;

/// Which function answers which method and path. Patterns are written as the API's description
/// does: "/containers/{id}/json"; a placeholder whose name ends in "..." ("{name...}") takes
/// one or more segments. The first route that matches counts. Filled once, then used by any thread.
class Router {
  public:
    using Route = std::function<Status(Exchange&, const PathParameters&)>;

    void add(std::string_view method, std::string_view pattern, Route route);
    /// Calls the route; an Error of its becomes the answer, if it hasn't begun one.
    void handle(Exchange& exchange) const;

  private:
    struct Entry {
        std::string method;
        std::vector<std::string> pattern;
        Route route;
    };
    std::vector<Entry> entries_;
};

/// The newest and the oldest version of the API that is spoken.
inline constexpr std::string_view kApiVersion = "1.50";
inline constexpr std::string_view kMinApiVersion = "1.24";
/// Older ones are let in from here on without being advertised: skopeo says 1.22.
inline constexpr std::string_view kOldestApiVersion = "1.12";

/// {"message": ...} with the status that the Error's code means.
[[nodiscard]] Status reply_error(Exchange& exchange, const Error& error);
[[nodiscard]] unsigned status_of(const Error& error);

}  // namespace drupe::http
