#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "imagefs/registry/connection.h"
#include "imagefs/registry/url.h"

namespace drupe::imagefs::registry {

/// Which registries are trusted how (docs/registries.md). The file is the operator's.
struct Config {
    /// By registry, as references name it ("docker.io"): where to ask first, in this order.
    std::map<std::string, std::vector<Url>, std::less<>> mirrors;
    /// "host" or "host:port": certificates aren't checked, and plain HTTP is spoken if need be.
    std::set<std::string, std::less<>> insecure;
    /// See TlsOptions.
    std::vector<std::string> certificate_dirs;

    [[nodiscard]] static Result<Config> parse(std::string_view text);
    /// Of $DRUPE_ROOT/registries.json, or else of /etc/drupe/registries.json; neither is needed.
    [[nodiscard]] static Result<Config> load(const std::string& root);

    [[nodiscard]] bool is_insecure(const Url& url) const;
    /// Whether this may be asked without TLS.
    [[nodiscard]] bool allows_plain(const Url& url) const {
        return is_loopback(url.host) || is_insecure(url);
    }
    [[nodiscard]] TlsOptions tls_for(const Url& url) const {
        return {!is_insecure(url), certificate_dirs};
    }
};

}  // namespace drupe::imagefs::registry
