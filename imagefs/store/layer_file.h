#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "imagefs/store/block_map.h"
#include "imagefs/store/digest.h"
#include "imagefs/store/sha256.h"

namespace drupe::imagefs {

/// Sealed layer files: docs/formats/layer.md. All counts and positions are in blocks of 4096 bytes
/// unless named otherwise; a layer's data offset is a block number in the layer's file.

inline constexpr uint64_t kMaxVirtualBlocks = uint64_t{1} << 32;  ///< 16 TiB.
inline constexpr uint32_t kMaxExtentsPerLayer = 1U << 24;
inline constexpr uint32_t kMaxExtentBlocks = (1U << 24) - 1;
inline constexpr uint32_t kBlocksPerMerkleLeaf = 64;

enum class ExtentKind : uint16_t {
    kData = 1,  ///< The blocks are in this file.
    kZero = 2,  ///< The blocks read as zeroes, whatever the parent holds.
};

/// How a layer lies in its file.
enum class LayerForm : uint8_t {
    kPacked = 0,  ///< Header first, data behind it without gaps, with sums.
    kSparse = 1,  ///< A top that was sealed as it was: each block at its own lba, the header last.
};

struct LayerExtent {
    uint64_t lba = 0;
    uint32_t blocks = 0;
    ExtentKind kind = ExtentKind::kData;
    uint64_t offset = 0;  ///< First block in the file; 0 for kZero.

    bool operator==(const LayerExtent&) const = default;
};

/// What a writer is told.
struct LayerIdentity {
    ChainId chain_id;
    std::optional<ChainId> parent;  ///< None for a layer 0.
    Digest diff_id;                 ///< The OCI layer's diffID; null for a layer 0.
    uint64_t virtual_blocks = 0;    ///< The disk's size; equal in all layers of a chain.
};

/// What a layer's header says.
struct LayerInfo {
    LayerIdentity identity;
    Uuid uuid{};  ///< Follows from the chain ID and the content.
    Digest merkle_root;
    uint64_t data_blocks = 0;
    uint32_t extent_count = 0;
    uint32_t index_crc = 0;
    uint32_t sums_crc = 0;
    uint64_t file_bytes = 0;  ///< Its length; of a sparse file much more than it occupies.
    LayerForm form = LayerForm::kPacked;

    /// The blocks of the file that extents may name.
    [[nodiscard]] uint64_t data_begin() const { return form == LayerForm::kSparse ? 0 : 1; }
    [[nodiscard]] uint64_t data_end() const {
        return form == LayerForm::kSparse ? identity.virtual_blocks : 1 + data_blocks;
    }
    /// What the file occupies, about.
    [[nodiscard]] uint64_t stored_bytes() const;
};

/// A sealed layer, read-only. The file is untrusted: open() checks the header, the index and all
/// bounds; only verify() reads the data. Thread-safe after open().
class LayerFile {
  public:
    /// `name` is for error messages. kCorrupt: not a layer or damaged; kUnsupported: a newer
    /// format.
    [[nodiscard]] static Result<LayerFile> open(Fd fd, std::string name);

    [[nodiscard]] const LayerInfo& info() const { return info_; }
    /// Sorted by lba, without overlaps, inside the disk and the file.
    [[nodiscard]] std::span<const LayerExtent> extents() const { return extents_; }
    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] const std::string& name() const { return name_; }

    /// Reads everything: each data block against its CRC32C, the leaves against the data, the root
    /// against the leaves, the trailer against the header. The error names the first bad block.
    /// A sparse layer has no sums yet: what open() checks is all that can be.
    [[nodiscard]] Status verify() const;

  private:
    LayerFile() = default;

    Fd fd_;
    std::string name_;
    LayerInfo info_;
    std::vector<LayerExtent> extents_;
};

/// Reads and checks a layer's header alone (4 KiB), not its index. The file's last block decides on
/// the form, never the first: that one of a sparse file was written by a guest.
[[nodiscard]] Result<LayerInfo> read_layer_header(int fd, std::string_view name);

/// Turns a stopped top's data file into a sparse layer: writes the index and the header behind the
/// disk's end. Copies no data; doesn't sync. The file must be as long as the disk.
struct SparseLayer {
    LayerInfo info;
    std::vector<LayerExtent> extents;
};
[[nodiscard]] Result<SparseLayer> write_sparse_layer(int data_fd, const LayerIdentity& identity,
                                                     const Uuid& uuid, const BlockMap& map);

/// Writes a sealed layer front to back. Equal input gives equal bytes. One thread; after an error
/// only destruction is allowed. It doesn't sync.
class LayerWriter {
  public:
    /// `fd` is an empty file open for writing.
    [[nodiscard]] static Result<LayerWriter> create(Fd fd, const LayerIdentity& identity);
    LayerWriter(LayerWriter&&) noexcept;
    LayerWriter& operator=(LayerWriter&&) noexcept;
    ~LayerWriter();

    /// Both in ascending order of lba, without overlaps (kInvalid otherwise). `data` is a multiple
    /// of 4096 bytes, at least one block.
    [[nodiscard]] Status add_data(uint64_t lba, std::span<const std::byte> data);
    [[nodiscard]] Status add_zero(uint64_t lba, uint64_t blocks);

    /// Writes index, sums, trailer and header. The file is returned, open.
    struct Finished {
        LayerInfo info;
        Fd fd;
    };
    [[nodiscard]] Result<Finished> finish();

  private:
    struct State;
    explicit LayerWriter(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace drupe::imagefs
