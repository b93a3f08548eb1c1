#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "imagefs/store/layer_file.h"
#include "imagefs/store/layered_disk.h"

namespace drupe::imagefs {

/// A layer in the making: a read/write disk of 4096-byte blocks over its parent chain, in a scratch
/// file. What an importer writes to (as the blocks below libext2fs) and Store::publish_layer seals.
/// Nothing of it survives a crash or the object. One thread.
class LayerBuilder {
  public:
    /// `parent` is empty (no index, no layers, no top) for a layer 0. `scratch` is an empty file,
    /// open for reading and writing.
    [[nodiscard]] static Result<LayerBuilder> create(std::optional<ChainId> parent_id,
                                                     DiskFiles parent, uint64_t virtual_blocks,
                                                     Fd scratch);

    [[nodiscard]] uint64_t virtual_blocks() const { return disk_->size_bytes() / 4096; }
    [[nodiscard]] const std::optional<ChainId>& parent() const { return parent_id_; }

    /// Block numbers and counts; the buffer has blocks * 4096 bytes. Outside the disk: kInvalid.
    [[nodiscard]] Status read(uint64_t lba, uint64_t blocks, void* out);
    [[nodiscard]] Status write(uint64_t lba, uint64_t blocks, const void* data);
    /// The blocks read as zeroes afterwards.
    [[nodiscard]] Status zero(uint64_t lba, uint64_t blocks);

    /// The same disk through the device's interface.
    [[nodiscard]] BlockBackend& disk() { return *disk_; }

    /// Packs what differs from the parent into the empty file `out`, in LBA order: blocks equal to
    /// the parent's are dropped, zero blocks become ZERO extents. identity.parent must be parent().
    [[nodiscard]] Result<LayerWriter::Finished> seal(Fd out, const LayerIdentity& identity) const;

  private:
    LayerBuilder() = default;

    std::optional<ChainId> parent_id_;
    std::unique_ptr<LayeredDisk> disk_;
};

}  // namespace drupe::imagefs
