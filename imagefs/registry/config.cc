#include "imagefs/registry/config.h"

#include <fmt/core.h>

#include "base/fd.h"
#include "imagefs/oci/json.h"

namespace drupe::imagefs::registry {
namespace {

constexpr size_t kMaxBytes = 1 << 20;
constexpr const char* kSystemFile = "/etc/drupe/registries.json";
constexpr const char* kDockerCertificates = "/etc/docker/certs.d";

Result<Url> parse_mirror(const std::string& text) {
    TRY_ASSIGN(Url url, Url::parse(text));
    if (url.target.find('?') != std::string::npos) {
        return Error{ErrorCode::kInvalid, fmt::format("the mirror {} has a query", text)};
    }
    while (url.target.ends_with('/')) url.target.pop_back();
    return url;
}

}  // namespace

Result<Config> Config::parse(std::string_view text) {
    TRY_ASSIGN(const oci::Json json, oci::parse_json(text, "registries"));
    Config config;
    TRY_ASSIGN(const oci::Json* mirrors, oci::object_member(json, "mirrors"));
    if (mirrors != nullptr) {
        for (const auto& [registry, unused] : mirrors->items()) {
            TRY_ASSIGN(const auto urls, oci::strings_member(*mirrors, registry.c_str()));
            for (const std::string& url : urls) {
                TRY_ASSIGN(Url mirror, parse_mirror(url));
                config.mirrors[registry].push_back(std::move(mirror));
            }
        }
    }
    TRY_ASSIGN(const auto insecure, oci::strings_member(json, "insecure"));
    config.insecure.insert(insecure.begin(), insecure.end());
    for (const auto& [registry, urls] : config.mirrors) {
        for (const Url& url : urls) {
            if (url.tls || config.allows_plain(url)) continue;
            return Error{ErrorCode::kInvalid,
                         fmt::format("the mirror {} of {} would be asked without TLS: name {} in "
                                     "\"insecure\" if that is meant",
                                     url.to_string(), registry, url.authority())};
        }
    }
    return config;
}

Result<Config> Config::load(const std::string& root) {
    Config config;
    for (const std::string& path : {root + "/registries.json", std::string(kSystemFile)}) {
        const auto text = read_file(path, kMaxBytes);
        if (!text && text.error().code == ErrorCode::kNotFound) continue;
        if (!text) return text.error();
        auto parsed = parse(text.value());
        if (!parsed) return std::move(parsed).error().wrap(path);
        config = std::move(parsed).value();
        break;
    }
    config.certificate_dirs = {root + "/certs.d", kDockerCertificates};
    return config;
}

bool Config::is_insecure(const Url& url) const {
    return insecure.contains(url.host) || insecure.contains(url.authority()) ||
           insecure.contains(fmt::format("{}:{}", url.host, url.port));
}

}  // namespace drupe::imagefs::registry
