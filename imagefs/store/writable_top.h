#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "imagefs/store/block_map.h"
#include "imagefs/store/digest.h"
#include "imagefs/store/top_log.h"

namespace drupe::imagefs {

/// The system calls that make a top durable, so that tests can drop what wasn't synced.
class TopIo {
  public:
    virtual ~TopIo() = default;
    [[nodiscard]] virtual Status sync(int fd);  ///< fdatasync
    [[nodiscard]] virtual Status punch(int fd, uint64_t offset_bytes, uint64_t length_bytes);
};

/// The writable layer of a running disk: a sparse file with every block at its own offset, the map
/// of which blocks it holds, and the log that keeps the map true across a crash
/// (docs/formats/top.md). One thread.
///
/// The order that keeps a zeroed block from coming back: its mark is made durable, then the block
/// is punched, then the hole is made durable; only then flush() returns. Data in the file always
/// beats a mark.
class WritableTop {
  public:
    /// Writes the first state of a top into two empty files. It doesn't sync: the first flush() of
    /// a machine does, and before that nothing was promised to anybody.
    [[nodiscard]] static Status format(int data_fd, int meta_fd, uint64_t virtual_blocks,
                                       const ChainId& chain_id);
    /// Opens a top: after a clean stop by its saved map, otherwise by SEEK_DATA and the log.
    /// kCorrupt: damaged; kConflict: the data file isn't the one that was formatted (a copy, which
    /// might not have kept its holes); kUnsupported: a newer format.
    /// `io` is not owned; null: the real calls.
    [[nodiscard]] static Result<WritableTop> open(Fd data, Fd meta, TopIo* io = nullptr);
    /// The same for a reader of map(): a top that was stopped cleanly stays so. Nothing may be
    /// written to it.
    [[nodiscard]] static Result<WritableTop> load(Fd data, Fd meta, TopIo* io = nullptr);
    /// The same to look at, whatever state it is in: nothing is written, the files need only be
    /// readable. Only map() and data_fd() are of use afterwards.
    [[nodiscard]] static Result<WritableTop> open_to_read(Fd data, Fd meta);
    /// A top without a log, for work that is thrown away after a crash.
    [[nodiscard]] static Result<WritableTop> scratch(Fd data, uint64_t virtual_blocks);

    [[nodiscard]] const BlockMap& map() const { return map_; }
    /// The chain it was made for; none for a scratch top.
    [[nodiscard]] const std::optional<ChainId>& chain_id() const { return chain_id_; }
    [[nodiscard]] int data_fd() const { return data_.get(); }
    /// True if the last user stopped cleanly.
    [[nodiscard]] bool was_clean() const { return was_clean_; }

    /// Nobody will want the files after a power cut: flush() waits for no disk any more.
    void make_volatile();
    /// How many blocks the data file may have; 0: no limit.
    void limit(uint64_t max_blocks);
    /// Before blocks are written to data_fd(). kLimit with os_errno EDQUOT: they would be more than
    /// the limit. Writes that overlap aren't under way at the same time.
    [[nodiscard]] Status begin_write(uint64_t lba, uint64_t blocks);
    /// After each begin_write(). Not landed: the blocks read as before.
    void end_write(uint64_t lba, uint64_t blocks, bool landed);
    /// Makes blocks zeroes where the parent has data.
    [[nodiscard]] Status zero(uint64_t lba, uint64_t blocks);
    /// Gives blocks back that the parent doesn't have.
    [[nodiscard]] Status drop(uint64_t lba, uint64_t blocks);
    /// All writes and marks are durable afterwards. After a failure it fails for ever, except for
    /// kLimit: the host had no room for the marks, nothing is lost, and it may be tried again.
    [[nodiscard]] Status flush();
    /// Whether an fdatasync of data_fd() is all that flush() would do now.
    [[nodiscard]] bool only_data_is_unsynced() const {
        return !failed_ && !unsynced_ && !volatile_ && pending_.empty();
    }
    /// That fdatasync failed: so does every flush from now on.
    void sync_failed(const Error& error) { failed_ = error; }
    /// flush(), then saves the map; the next open needn't search. Nothing may be called afterwards.
    [[nodiscard]] Status close();

  private:
    WritableTop(Fd data, BlockMap map);
    /// `top` as its files have it; nothing is written.
    struct Found;
    [[nodiscard]] static Result<Found> find(Fd data, Fd meta);
    /// visit(lba, blocks) for each run of kZeroPending.
    template <class Visit>
    [[nodiscard]] Status for_pending_runs(Visit visit);
    [[nodiscard]] uint64_t fresh_blocks(uint64_t lba, uint64_t blocks) const;
    [[nodiscard]] Status make_marks_durable();
    [[nodiscard]] Status try_flush();

    Fd data_;
    std::unique_ptr<TopLog> log_;
    TopIo* io_;
    BlockMap map_;
    std::optional<ChainId> chain_id_;
    struct Range {
        uint64_t lba;
        uint64_t blocks;
    };
    std::vector<Range> pending_;  ///< Covers every kZeroPending block; bounded.
    std::optional<Error> failed_;
    uint64_t max_blocks_ = 0;
    uint64_t used_blocks_ = 0;     ///< At least what the data file has; exact when it matters.
    uint64_t writing_blocks_ = 0;  ///< Of those, the ones that the map doesn't have yet.
    bool was_clean_ = false;
    bool unsynced_ = false;  ///< format()'s meta file waits for the first flush.
    bool volatile_ = false;
};

}  // namespace drupe::imagefs
