#include "imagefs/store/digest.h"

#include <fmt/core.h>

#include <cstddef>

namespace drupe::imagefs {
namespace {

int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

}  // namespace

Result<Digest> Digest::parse(std::string_view text) {
    constexpr std::string_view kPrefix = "sha256:";
    std::string_view digits = text;
    if (digits.starts_with(kPrefix)) digits.remove_prefix(kPrefix.size());
    Digest digest;
    bool valid = digits.size() == 2 * digest.bytes.size();
    for (size_t i = 0; valid && i < digest.bytes.size(); ++i) {
        const int high = hex_value(digits[2 * i]);
        const int low = hex_value(digits[2 * i + 1]);
        valid = high >= 0 && low >= 0;
        digest.bytes[i] = static_cast<uint8_t>(high * 16 + low);
    }
    if (!valid) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("\"{}\" is not a SHA-256 digest (sha256: and 64 lower-case "
                                 "hexadecimal digits)",
                                 text.substr(0, 100))};
    }
    return digest;
}

std::string Digest::hex() const {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    text.reserve(2 * bytes.size());
    for (const uint8_t byte : bytes) {
        text += kDigits[byte >> 4];
        text += kDigits[byte & 15];
    }
    return text;
}

}  // namespace drupe::imagefs
