// The plain functions, not EVP: their use starts no providers and reads no configuration file,
// which would be a tenth of what `drupe run` does before its guest runs. The code behind both is
// the same.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "imagefs/store/sha256.h"

#include <openssl/sha.h>

#include "base/check.h"

namespace drupe::imagefs {

struct Sha256::State {
    SHA256_CTX context{};
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
    DRUPE_CHECK(SHA256_Init(&state_->context) == 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> data) {
    DRUPE_CHECK(SHA256_Update(&state_->context, data.data(), data.size()) == 1);
}

void Sha256::update(std::string_view data) {
    update(std::as_bytes(std::span(data)));
}

Digest Sha256::finish() {
    Digest digest;
    static_assert(sizeof digest.bytes == SHA256_DIGEST_LENGTH);
    auto* const out = reinterpret_cast<unsigned char*>(digest.bytes.data());
    DRUPE_CHECK(SHA256_Final(out, &state_->context) == 1);
    DRUPE_CHECK(SHA256_Init(&state_->context) == 1);
    return digest;
}

Digest sha256(std::span<const std::byte> data) {
    Sha256 hash;
    hash.update(data);
    return hash.finish();
}

Digest sha256(std::string_view data) {
    return sha256(std::as_bytes(std::span(data)));
}

ChainId root_chain_id(std::string_view formatter) {
    return sha256(formatter);
}

ChainId child_chain_id(const ChainId& parent, const Digest& diff_id) {
    return sha256(parent.to_string() + " " + diff_id.to_string());
}

}  // namespace drupe::imagefs
