#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "imagefs/store/digest.h"

namespace drupe::imagefs::oci {

/// An image's name, by the rules of Docker's references: "alpine" is
/// "docker.io/library/alpine:latest".
struct Reference {
    std::string registry;    ///< "docker.io", "localhost:5000"
    std::string repository;  ///< "library/alpine"
    std::string tag;         ///< Empty only if there is a digest.
    std::optional<Digest> digest;

    /// kInvalid: not a reference; the message says why.
    [[nodiscard]] static Result<Reference> parse(std::string_view text);

    /// The full form, which the store keeps: "docker.io/library/alpine:latest".
    [[nodiscard]] std::string canonical() const;
    /// The form people write: "alpine:latest".
    [[nodiscard]] std::string familiar() const;

    bool operator==(const Reference&) const = default;

  private:
    [[nodiscard]] std::string suffix() const;
};

/// The registry that people mean by "https://HOST/v1/", "HOST" or nothing, as in a reference:
/// "docker.io".
[[nodiscard]] std::string registry_of_address(std::string address);

}  // namespace drupe::imagefs::oci
