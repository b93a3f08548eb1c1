#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "imagefs/store/block_backend.h"
#include "imagefs/store/merged_index.h"
#include "imagefs/store/writable_top.h"

namespace drupe::imagefs {

/// Everything a disk consists of, as descriptors (Store::open_chain, create_top and open_top make
/// them; they carry the store's locks, which last until the last duplicate is closed).
struct DiskFiles {
    Fd index;                ///< Merged index, read-only.
    std::vector<Fd> layers;  ///< Bottom first, read-only.
    Fd top_data;             ///< Both or none: without a top the disk is read-only.
    Fd top_meta;
    uint64_t virtual_bytes = 0;
    uint64_t max_top_bytes = 0;  ///< What the top's data may occupy on the host; 0: no limit.
    /// The top needn't survive a power cut (what a seal takes does): afterwards it is kCorrupt.
    bool is_volatile = false;
    bool known_whole = false;  ///< Of a volatile one: no power was cut since it was made.
};

/// A chain of sealed layers under a writable top, as one disk. It opens nothing and allocates
/// nothing in read() and write(). Blocks that nobody wrote are zeroes.
class LayeredDisk final : public BlockBackend, private DirectDisk {
  public:
    /// kCorrupt: the index, a layer's header or the top is damaged, or they don't belong together.
    [[nodiscard]] static Result<std::unique_ptr<LayeredDisk>> open(DiskFiles files);
    /// The same disk to look at: the top's files need only be readable, and nothing is written to
    /// them, whatever state they are in.
    [[nodiscard]] static Result<std::unique_ptr<LayeredDisk>> open_to_read(DiskFiles files);
    /// A disk of other parts. No index: no layers below. No top: read-only.
    [[nodiscard]] static Result<std::unique_ptr<LayeredDisk>> assemble(
        std::optional<MergedIndex> index, std::vector<Fd> layers, std::optional<WritableTop> top);

    [[nodiscard]] uint64_t size_bytes() const override { return virtual_blocks_ * kBlockSize; }
    [[nodiscard]] bool read_only() const override { return !top_ || to_read_; }
    [[nodiscard]] Status read(uint64_t offset, std::span<const iovec> out) override;
    [[nodiscard]] Status write(uint64_t offset, std::span<const iovec> data) override;
    [[nodiscard]] Status flush() override;
    /// may_unmap makes no difference: a sparse top has nothing to keep reserved.
    [[nodiscard]] Status write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override;
    [[nodiscard]] Status discard(uint64_t offset, uint64_t length) override;
    [[nodiscard]] DirectDisk* direct() override { return this; }

    /// The clean stop: flush, save the top's map. Nothing may be called afterwards. Without it the
    /// next open searches the top for data, as after a crash.
    [[nodiscard]] Status close();

    /// Reads what lies below the top, into one buffer of blocks * 4096 bytes.
    [[nodiscard]] Status read_parent(uint64_t lba, uint64_t blocks, std::byte* out) const;
    /// The run below the top from lba on.
    [[nodiscard]] Result<MergedIndex::Run> parent_run(uint64_t lba, uint64_t max_blocks) const;
    /// nullptr: no layers below the top.
    [[nodiscard]] const MergedIndex* index() const { return index_ ? &*index_ : nullptr; }
    /// Whether a layer came with a known content (it has a diffID), not from a machine.
    [[nodiscard]] bool is_imported(uint32_t layer) const { return imported_[layer]; }
    /// nullptr: there is none.
    [[nodiscard]] const WritableTop* top() const { return top_ ? &*top_ : nullptr; }

  private:
    LayeredDisk() = default;
    [[nodiscard]] static Result<std::unique_ptr<LayeredDisk>> open_below(
        DiskFiles files, std::optional<WritableTop> top);
    [[nodiscard]] Result<DiskExtent> locate(uint64_t offset, uint64_t length) override;
    [[nodiscard]] Result<DiskExtent> begin_write(uint64_t offset, uint64_t length) override;
    void end_write(uint64_t offset, uint64_t length, bool landed) override;
    [[nodiscard]] int flush_fd() const override;
    void end_flush(const Status& synced) override;

    [[nodiscard]] Result<DiskExtent> locate_below(uint64_t lba, uint64_t blocks) const;
    [[nodiscard]] Error name_file(Error error, int fd) const;

    std::optional<MergedIndex> index_;
    std::vector<Fd> layers_;
    std::vector<bool> imported_;  ///< For each of layers_.
    std::optional<WritableTop> top_;
    uint64_t virtual_blocks_ = 0;
    bool to_read_ = false;
};

/// A plain file or block device as a disk; never probed for a format. Its size must be a multiple
/// of 4096 (kInvalid). For volumes, tests and as the benchmarks' yardstick.
[[nodiscard]] Result<std::unique_ptr<BlockBackend>> open_raw_disk(Fd fd, bool read_only);

}  // namespace drupe::imagefs
