#include "imagefs/oci/reference.h"

#include <fmt/core.h>

#include <algorithm>

namespace drupe::imagefs::oci {
namespace {

constexpr size_t kMaxName = 255;
constexpr size_t kMaxTag = 128;
constexpr std::string_view kDefaultRegistry = "docker.io";
constexpr std::string_view kLibrary = "library/";

bool is_lower(char c) {
    return c >= 'a' && c <= 'z';
}
bool is_upper(char c) {
    return c >= 'A' && c <= 'Z';
}
bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
bool is_word(char c) {
    return is_lower(c) || is_upper(c) || is_digit(c) || c == '_';
}

/// [a-z0-9]+ joined by '.', '_', '__' or any number of '-'.
bool is_path_component(std::string_view text) {
    const auto plain = [](char c) { return is_lower(c) || is_digit(c); };
    if (text.empty() || !plain(text.front()) || !plain(text.back())) return false;
    for (size_t i = 0; i < text.size();) {
        if (plain(text[i])) {
            ++i;
            continue;
        }
        size_t end = i;
        while (!plain(text[end])) ++end;  // The last character is plain.
        const std::string_view separator = text.substr(i, end - i);
        const bool dashes = separator.find_first_not_of('-') == std::string_view::npos;
        if (!dashes && separator != "." && separator != "_" && separator != "__") return false;
        i = end;
    }
    return true;
}

bool is_repository(std::string_view text) {
    while (true) {
        const size_t slash = text.find('/');
        if (!is_path_component(text.substr(0, slash))) return false;
        if (slash == std::string_view::npos) return true;
        text.remove_prefix(slash + 1);
    }
}

bool is_registry(std::string_view text) {
    const size_t colon = text.rfind(':');
    if (colon != std::string_view::npos) {
        const std::string_view port = text.substr(colon + 1);
        if (port.empty() || port.size() > 5 || !std::all_of(port.begin(), port.end(), is_digit)) {
            return false;
        }
        text = text.substr(0, colon);
    }
    return !text.empty() && text.front() != '-' && text.front() != '.' && text.back() != '-' &&
           text.back() != '.' && std::all_of(text.begin(), text.end(), [](char c) {
               return is_word(c) ? c != '_' : c == '.' || c == '-';
           });
}

bool is_tag(std::string_view text) {
    return !text.empty() && text.size() <= kMaxTag && is_word(text.front()) &&
           std::all_of(text.begin(), text.end(),
                       [](char c) { return is_word(c) || c == '.' || c == '-'; });
}

bool names_registry(std::string_view first) {
    return first.find('.') != std::string_view::npos || first.find(':') != std::string_view::npos ||
           first == "localhost" || std::any_of(first.begin(), first.end(), is_upper);
}

bool looks_like_id(std::string_view text) {
    return text.size() == 64 &&
           text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

Result<Reference> Reference::parse(std::string_view text) {
    const auto refuse = [&](std::string_view why) {
        return Error{ErrorCode::kInvalid, fmt::format("'{}' is not an image reference: {}",
                                                      text.substr(0, kMaxName), why)};
    };
    if (text.empty()) return refuse("it is empty");
    if (text.size() > kMaxName + kMaxTag + 80) return refuse("it is too long");
    if (looks_like_id(text)) return refuse("it could be mistaken for an image ID");
    Reference reference;
    std::string_view name = text;
    if (const size_t at = name.find('@'); at != std::string_view::npos) {
        auto digest = Digest::parse(name.substr(at + 1));
        if (!digest || name.substr(at + 1, 7) != "sha256:") {
            return refuse("its digest must be sha256: and 64 hexadecimal digits");
        }
        reference.digest = digest.value();
        name = name.substr(0, at);
    }
    const size_t colon = name.rfind(':');
    if (colon != std::string_view::npos && name.find('/', colon) == std::string_view::npos) {
        reference.tag = name.substr(colon + 1);
        if (!is_tag(reference.tag)) return refuse("its tag is malformed");
        name = name.substr(0, colon);
    }
    const size_t slash = name.find('/');
    if (slash != std::string_view::npos && names_registry(name.substr(0, slash))) {
        reference.registry = name.substr(0, slash);
        name = name.substr(slash + 1);
    } else {
        reference.registry = kDefaultRegistry;
    }
    if (reference.registry == "index.docker.io") reference.registry = kDefaultRegistry;
    reference.repository = name;
    if (reference.registry == kDefaultRegistry && name.find('/') == std::string_view::npos) {
        reference.repository = std::string(kLibrary) + std::string(name);
    }
    if (!is_registry(reference.registry)) return refuse("its registry is malformed");
    if (!is_repository(reference.repository)) {
        return refuse("a name is made of a-z, 0-9 and single separators . _ - /");
    }
    if (reference.registry.size() + 1 + reference.repository.size() > kMaxName) {
        return refuse("its name is longer than 255 bytes");
    }
    if (reference.tag.empty() && !reference.digest) reference.tag = "latest";
    return reference;
}

std::string Reference::suffix() const {
    std::string text;
    if (!tag.empty()) text.append(":").append(tag);
    if (digest) text.append("@").append(digest->to_string());
    return text;
}

std::string Reference::canonical() const {
    return registry + "/" + repository + suffix();
}

std::string Reference::familiar() const {
    if (registry != kDefaultRegistry) return canonical();
    const bool library = repository.compare(0, kLibrary.size(), kLibrary) == 0 &&
                         repository.find('/', kLibrary.size()) == std::string::npos;
    return (library ? repository.substr(kLibrary.size()) : repository) + suffix();
}

std::string registry_of_address(std::string address) {
    for (const std::string_view scheme : {"https://", "http://"}) {
        if (address.starts_with(scheme)) address.erase(0, scheme.size());
    }
    address = address.substr(0, address.find('/'));
    const bool hub =
        address.empty() || address == "index.docker.io" || address == "registry-1.docker.io";
    return hub ? std::string(kDefaultRegistry) : address;
}

}  // namespace drupe::imagefs::oci
