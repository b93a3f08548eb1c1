#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "imagefs/store/layered_disk.h"

namespace drupe::imagefs {

/// Two states of one disk, and what is known of where they differ without reading them.
class DiskPair {
  public:
    struct Run {
        uint64_t blocks = 0;
        bool may_differ = false;
    };

    virtual ~DiskPair() = default;
    [[nodiscard]] virtual BlockBackend& before() = 0;
    [[nodiscard]] virtual BlockBackend& after() = 0;
    /// The run from lba on, of 1 to max_blocks blocks. Both disks have [lba, lba + max_blocks), and
    /// max_blocks isn't 0 (kInvalid).
    [[nodiscard]] virtual Result<Run> run(uint64_t lba, uint64_t max_blocks) const = 0;
    /// Whether all that may differ was written by running kernels. They change no directory without
    /// its inode; an importer that applies a whiteout does.
    [[nodiscard]] virtual bool by_kernels() const = 0;
};

/// Of two chains, or of a chain and what lies on it: blocks that are one block of one layer's file
/// don't differ. `before` has no top (kInvalid). Costs the same whatever the disks hold.
[[nodiscard]] Result<std::unique_ptr<DiskPair>> make_layered_pair(
    std::unique_ptr<LayeredDisk> before, std::unique_ptr<LayeredDisk> after);

/// Of two disks of which nothing is known: every block may differ.
[[nodiscard]] std::unique_ptr<DiskPair> make_unrelated_pair(std::unique_ptr<BlockBackend> before,
                                                            std::unique_ptr<BlockBackend> after);

}  // namespace drupe::imagefs
