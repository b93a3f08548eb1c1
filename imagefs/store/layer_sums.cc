#include "imagefs/store/layer_sums.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/codec.h"
#include "base/crc32c.h"
#include "imagefs/store/layer_format.h"

namespace drupe::imagefs {
namespace {

// Told apart by their first byte, so that no leaf can pass for a node (RFC 6962, section 2.1).
constexpr std::string_view kLeafTag("\0", 1);
constexpr std::string_view kNodeTag("\1", 1);
constexpr std::string_view kRootTag("\2", 1);

std::string_view text_of(const Digest& digest) {
    return {reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size()};
}

Digest tree_root(std::vector<Digest> level, Sha256& hash) {
    if (level.empty()) return Digest{};
    while (level.size() > 1) {
        std::vector<Digest> above;
        above.reserve((level.size() + 1) / 2);
        for (size_t i = 0; i < level.size(); i += 2) {
            if (i + 1 == level.size()) {
                above.push_back(level[i]);  // a node without a sibling rises
                continue;
            }
            hash.update(kNodeTag);
            hash.update(text_of(level[i]));
            hash.update(text_of(level[i + 1]));
            above.push_back(hash.finish());
        }
        level = std::move(above);
    }
    return level[0];
}

}  // namespace

void LayerSums::add(std::span<const std::byte> data) {
    while (!data.empty()) {
        if (blocks_in_leaf_ == 0) leaf_.update(kLeafTag);
        const uint64_t blocks =
            std::min<uint64_t>(data.size() / kBlock, kBlocksPerMerkleLeaf - blocks_in_leaf_);
        const std::span<const std::byte> part = data.first(blocks * kBlock);
        for (uint64_t i = 0; i < blocks; ++i) {
            crcs_.push_back(crc32c(part.subspan(i * kBlock, kBlock)));
        }
        leaf_.update(part);
        blocks_in_leaf_ += static_cast<uint32_t>(blocks);
        if (blocks_in_leaf_ == kBlocksPerMerkleLeaf) finish();
        data = data.subspan(part.size());
    }
}

void LayerSums::finish() {
    if (blocks_in_leaf_ == 0) return;
    leaves_.push_back(leaf_.finish());
    blocks_in_leaf_ = 0;
}

std::string LayerSums::encode() const {
    Encoder out;
    for (const uint32_t crc : crcs_) out.put(crc);
    for (const Digest& leaf : leaves_) out.put_raw(text_of(leaf));
    return out.take();
}

Digest LayerSums::root(std::string_view index, uint64_t virtual_blocks) const {
    Sha256 hash;
    const Digest tree = tree_root(leaves_, hash);
    Encoder size;
    size.put(virtual_blocks);
    hash.update(kRootTag);
    hash.update(size.bytes());
    hash.update(text_of(sha256(index)));
    hash.update(text_of(tree));
    return hash.finish();
}

Uuid layer_uuid(const ChainId& chain_id, const Digest& merkle_root) {
    Sha256 hash;
    hash.update("drupe layer ");
    hash.update(text_of(chain_id));
    hash.update(text_of(merkle_root));
    const Digest digest = hash.finish();
    Uuid uuid;
    std::copy_n(digest.bytes.begin(), uuid.size(), uuid.begin());
    uuid[6] = static_cast<uint8_t>((uuid[6] & 0x0F) | 0x80);  // RFC 9562: version 8,
    uuid[8] = static_cast<uint8_t>((uuid[8] & 0x3F) | 0x80);  // variant 10
    return uuid;
}

}  // namespace drupe::imagefs
