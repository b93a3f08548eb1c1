#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/daemon/daemon.h"
#include "api/server/exchange.h"
#include "api/server/router.h"

namespace drupe::endpoints {

using Json = nlohmann::ordered_json;  // answers have Docker's order of members

/// GET /...?filters=: {"label": ["a=b"]}, or the older {"label": {"a=b": true}}.
class Filters {
  public:
    /// kInvalid if it is neither, or names a filter that isn't among `known`.
    [[nodiscard]] static Result<Filters> parse(const std::string& text,
                                               const std::vector<std::string_view>& known);
    [[nodiscard]] const std::vector<std::string>& get(const std::string& name) const;
    [[nodiscard]] bool has(const std::string& name) const { return !get(name).empty(); }
    /// No such filter was given, or one of its values satisfies the condition.
    [[nodiscard]] bool any(const std::string& name,
                           const std::function<bool(const std::string&)>& condition) const;
    /// Every "label" filter, "NAME" or "NAME=VALUE", is met; no "label!" is.
    [[nodiscard]] bool labels_match(const std::map<std::string, std::string>& labels) const;
    /// The value of a filter that is a boolean; kInvalid if it is none.
    [[nodiscard]] Result<std::optional<bool>> boolean(const std::string& name) const;

  private:
    std::map<std::string, std::vector<std::string>> values_;
};

/// One request, as an endpoint sees it.
struct Call {
    daemon::Daemon& daemon;
    http::Exchange& http;
    const http::PathParameters& path;

    [[nodiscard]] const std::string& id() const { return path.at("id"); }

    // Query parameters.
    [[nodiscard]] std::string text(const std::string& name) const;
    [[nodiscard]] bool has(const std::string& name) const;
    /// By moby's rules: "", "0", "no", "false" and "none" are false, all else is true.
    [[nodiscard]] bool flag(const std::string& name, bool missing = false) const;
    /// kInvalid if it isn't a number; unset if it isn't there.
    [[nodiscard]] Result<std::optional<int64_t>> number(const std::string& name) const;
    /// All values of a parameter that may come more than once.
    [[nodiscard]] std::vector<std::string> list(const std::string& name) const;
    [[nodiscard]] Result<Filters> filters(const std::vector<std::string_view>& known) const;

    /// The body, a JSON object; of an empty body an empty one.
    [[nodiscard]] Result<nlohmann::json> body() const;

    [[nodiscard]] Status answer(unsigned status, const Json& json) const;
    [[nodiscard]] Status answer(unsigned status) const;  ///< Without a body.
    [[nodiscard]] Status answer_text(unsigned status, std::string_view json) const;
};

using Endpoint = Status (*)(const Call&);

/// Adds one endpoint to a router.
void add(http::Router& router, daemon::Daemon& daemon, std::string_view method,
         std::string_view pattern, Endpoint endpoint);

[[nodiscard]] std::string dump(const Json& json);

}  // namespace drupe::endpoints
