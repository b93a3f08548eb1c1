#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "imagefs/store/digest.h"

namespace drupe::imagefs {

/// An incremental SHA-256. After finish() it starts over.
class Sha256 {
  public:
    Sha256();
    ~Sha256();
    Sha256(Sha256&&) noexcept;
    Sha256& operator=(Sha256&&) noexcept;

    void update(std::span<const std::byte> data);
    void update(std::string_view data);
    [[nodiscard]] Digest finish();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

[[nodiscard]] Digest sha256(std::string_view data);
[[nodiscard]] Digest sha256(std::span<const std::byte> data);

/// The chain that consists of layer 0 alone. `formatter` names whatever decides its bytes, such as
/// "drupe-ext4/2/64GiB".
[[nodiscard]] ChainId root_chain_id(std::string_view formatter);
/// The chain `parent` with one layer more: OCI's ChainID rule, "sha256:PARENT sha256:DIFF" hashed.
[[nodiscard]] ChainId child_chain_id(const ChainId& parent, const Digest& diff_id);

}  // namespace drupe::imagefs
