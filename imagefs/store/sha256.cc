#include "imagefs/store/sha256.h"

#include <openssl/evp.h>

#include "base/check.h"

namespace drupe::imagefs {

struct Sha256::State {
    struct Deleter {
        void operator()(EVP_MD_CTX* raw) const { EVP_MD_CTX_free(raw); }
    };
    std::unique_ptr<EVP_MD_CTX, Deleter> context{EVP_MD_CTX_new()};

    // SHA-256 fails only without memory or without its implementation: nothing to go on with.
    void start() {
        DRUPE_CHECK(context != nullptr);
        DRUPE_CHECK(EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1);
    }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
    state_->start();
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> data) {
    DRUPE_CHECK(EVP_DigestUpdate(state_->context.get(), data.data(), data.size()) == 1);
}

void Sha256::update(std::string_view data) {
    update(std::as_bytes(std::span(data)));
}

Digest Sha256::finish() {
    Digest digest;
    unsigned size = 0;
    DRUPE_CHECK(EVP_DigestFinal_ex(state_->context.get(), digest.bytes.data(), &size) == 1);
    DRUPE_CHECK(size == digest.bytes.size());
    DRUPE_CHECK(EVP_DigestInit_ex(state_->context.get(), nullptr, nullptr) == 1);
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
