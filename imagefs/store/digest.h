#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace drupe::imagefs {

/// A SHA-256 digest, as OCI writes it: "sha256:" and 64 lower-case hexadecimal digits.
struct Digest {
    std::array<uint8_t, 32> bytes{};

    /// Accepts "sha256:HEX" and "HEX" with exactly 64 lower-case digits; anything else is kInvalid.
    [[nodiscard]] static Result<Digest> parse(std::string_view text);
    [[nodiscard]] std::string hex() const;
    [[nodiscard]] std::string to_string() const { return "sha256:" + hex(); }
    [[nodiscard]] bool is_null() const { return *this == Digest{}; }

    bool operator==(const Digest&) const = default;
    bool operator<(const Digest& other) const { return bytes < other.bytes; }
};

/// Names a chain of layers, and the layer at its head: the digest of everything below it. Layer 0's
/// is root_chain_id (the formatter's name, with version and virtual size), so that it is part of
/// every chain's identity.
using ChainId = Digest;

using Uuid = std::array<uint8_t, 16>;

}  // namespace drupe::imagefs
