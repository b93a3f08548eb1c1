#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "imagefs/store/digest.h"
#include "imagefs/store/layer_file.h"
#include "imagefs/store/sha256.h"

namespace drupe::imagefs {

/// The sums of a layer's data, computed block after block by its writer and by its verifier: the
/// CRC32C of each block and the SHA-256 of each kBlocksPerMerkleLeaf of them.
class LayerSums {
  public:
    /// Whole blocks.
    void add(std::span<const std::byte> data);
    /// Closes the last leaf. Nothing may be added afterwards.
    void finish();

    [[nodiscard]] const std::vector<uint32_t>& crcs() const { return crcs_; }
    [[nodiscard]] const std::vector<Digest>& leaves() const { return leaves_; }
    /// The sums section as it lies in the file.
    [[nodiscard]] std::string encode() const;
    /// The root: what identifies data, index and size together.
    [[nodiscard]] Digest root(std::string_view index, uint64_t virtual_blocks) const;

  private:
    std::vector<uint32_t> crcs_;
    std::vector<Digest> leaves_;
    Sha256 leaf_;
    uint32_t blocks_in_leaf_ = 0;
};

[[nodiscard]] Uuid layer_uuid(const ChainId& chain_id, const Digest& merkle_root);

}  // namespace drupe::imagefs
