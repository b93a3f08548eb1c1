#include "imagefs/registry/url.h"

#include <arpa/inet.h>
#include <fmt/core.h>

#include <algorithm>
#include <charconv>

namespace drupe::imagefs::registry {
namespace {

constexpr size_t kMaxBytes = 16 << 10;  // signed URLs of object stores have thousands
constexpr uint16_t kHttpPort = 80;
constexpr uint16_t kHttpsPort = 443;

Error malformed(std::string_view text, std::string_view why) {
    return {ErrorCode::kInvalid, fmt::format("the URL '{}' {}", text.substr(0, 200), why)};
}

bool is_printable(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

bool is_host(std::string_view text) {
    return !text.empty() && text.size() <= 253 && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
    });
}

bool is_ipv6(const std::string& text) {
    in6_addr address{};
    return inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

/// Takes "host", "host:port", "[v6]" or "[v6]:port" apart.
bool take_authority(std::string_view text, Url& url) {
    std::string_view host = text;
    std::string_view port;
    if (text.starts_with('[')) {
        const size_t close = text.find(']');
        if (close == std::string_view::npos) return false;
        host = text.substr(1, close - 1);
        port = text.substr(close + 1);
        if (!is_ipv6(std::string(host))) return false;
    } else {
        const size_t colon = text.find(':');
        host = text.substr(0, colon);
        if (colon != std::string_view::npos) port = text.substr(colon);
    }
    url.host = host;
    std::transform(url.host.begin(), url.host.end(), url.host.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    if (!text.starts_with('[') && !is_host(url.host)) return false;
    url.port = url.tls ? kHttpsPort : kHttpPort;
    if (port.empty()) return true;
    const char* const end = port.data() + port.size();
    const auto [stop, error] = std::from_chars(port.data() + 1, end, url.port);
    return port.front() == ':' && error == std::errc() && stop == end && url.port != 0;
}

}  // namespace

Result<Url> Url::parse(std::string_view text) {
    if (text.size() > kMaxBytes) return malformed(text, "is too long");
    if (!is_printable(text)) return malformed("...", "has characters that no URL has");
    Url url;
    std::string_view rest = text;
    if (rest.starts_with("https://")) {
        rest.remove_prefix(8);
    } else if (rest.starts_with("http://")) {
        url.tls = false;
        rest.remove_prefix(7);
    } else {
        return malformed(text, "is neither of http nor of https");
    }
    rest = rest.substr(0, rest.find('#'));
    const size_t end = rest.find_first_of("/?");
    if (!take_authority(rest.substr(0, end), url)) {
        return malformed(text, "has no proper host and port");
    }
    if (end == std::string_view::npos) return url;
    url.target = rest.substr(end);
    if (url.target.front() == '?') url.target.insert(0, "/");
    return url;
}

Result<Url> Url::resolve(std::string_view location) const {
    if (location.starts_with("http://") || location.starts_with("https://")) {
        return parse(location);
    }
    const std::string origin = (tls ? "https://" : "http://") + authority();
    if (location.starts_with("//"))
        return parse((tls ? "https:" : "http:") + std::string(location));
    if (location.starts_with('/')) return parse(origin + std::string(location));
    if (location.empty() || location.find(':') < location.find_first_of("/?")) {
        return malformed(location, "can't be redirected to");
    }
    const std::string_view path = std::string_view(target).substr(0, target.find('?'));
    return parse(origin + std::string(path.substr(0, path.rfind('/') + 1)) + std::string(location));
}

std::string Url::authority() const {
    const std::string name = host.find(':') == std::string::npos ? host : "[" + host + "]";
    return port == (tls ? kHttpsPort : kHttpPort) ? name : fmt::format("{}:{}", name, port);
}

std::string Url::to_string() const {
    return (tls ? "https://" : "http://") + authority() + target;
}

bool is_loopback(std::string_view host) {
    if (host == "localhost" || host == "::1") return true;
    in_addr address{};
    return inet_pton(AF_INET, std::string(host).c_str(), &address) == 1 &&
           (ntohl(address.s_addr) >> 24) == 127;
}

std::string percent_encode(std::string_view text) {
    std::string out;
    for (const char c : text) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
        if (plain) {
            out += c;
        } else {
            out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
        }
    }
    return out;
}

}  // namespace drupe::imagefs::registry
