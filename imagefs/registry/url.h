#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace drupe::imagefs::registry {

/// An http or https URL without user, password and fragment; what a server says may become one.
struct Url {
    bool tls = true;
    std::string host;  ///< Lower case; an IPv6 address without its brackets.
    uint16_t port = 0;
    std::string target = "/";  ///< Path and query; starts with a slash, printable ASCII.

    [[nodiscard]] static Result<Url> parse(std::string_view text);
    /// What a Location header means that came from here: absolute, or relative to this.
    [[nodiscard]] Result<Url> resolve(std::string_view location) const;
    /// "host" or "host:port", as in a Host header.
    [[nodiscard]] std::string authority() const;
    [[nodiscard]] std::string to_string() const;
    /// Credentials that are meant for the one may be sent to the other.
    [[nodiscard]] bool same_origin(const Url& other) const {
        return tls == other.tls && host == other.host && port == other.port;
    }
};

/// Whether a host is this machine by its name alone: localhost, 127.0.0.0/8 or ::1.
[[nodiscard]] bool is_loopback(std::string_view host);

/// For a query's names and values.
[[nodiscard]] std::string percent_encode(std::string_view text);

}  // namespace drupe::imagefs::registry
