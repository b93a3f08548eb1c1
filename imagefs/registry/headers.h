#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace drupe::imagefs::registry {

/// Header fields of a message in their order.
class Headers {
  public:
    void add(std::string name, std::string value) {
        fields_.emplace_back(std::move(name), std::move(value));
    }
    /// The first of that name, in any case; empty if there is none.
    [[nodiscard]] std::string_view get(std::string_view name) const;
    [[nodiscard]] std::vector<std::string_view> all(std::string_view name) const;
    void remove(std::string_view name);
    [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& fields() const {
        return fields_;
    }

  private:
    std::vector<std::pair<std::string, std::string>> fields_;
};

// What servers say in header fields, and may say wrongly.

/// One challenge of a WWW-Authenticate field (RFC 9110, 11.6.1).
struct Challenge {
    std::string scheme;                         ///< Lower case: "bearer", "basic".
    std::map<std::string, std::string> params;  ///< Names in lower case.
};
/// At most 16 challenges of at most 32 parameters; what can't be understood ends the list.
[[nodiscard]] std::vector<Challenge> parse_challenges(std::string_view field);

/// "bytes 0-99/200" (RFC 9110, 14.4); the last byte is included, as there.
struct ContentRange {
    uint64_t first = 0;
    uint64_t last = 0;
    std::optional<uint64_t> total;  ///< nullopt: "*"
};
[[nodiscard]] std::optional<ContentRange> parse_content_range(std::string_view field);

[[nodiscard]] std::optional<uint64_t> parse_number(std::string_view text);

/// Text of a server's for a message to people: one line, printable, not long.
[[nodiscard]] std::string presentable(std::string_view text);

}  // namespace drupe::imagefs::registry
