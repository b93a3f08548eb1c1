#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/fd.h"
#include "base/result.h"
#include "imagefs/store/block_map.h"
#include "imagefs/store/digest.h"

namespace drupe::imagefs {

class TopIo;

/// A top's meta file: who it belongs to, a checkpoint of its map, and the zero marks made since
/// then (docs/formats/top.md). Reading treats the file as untrusted. One thread.
class TopLog {
  public:
    struct Identity {
        ChainId chain_id;
        uint64_t virtual_blocks = 0;
        uint64_t data_inode = 0;
    };
    struct Mark {
        uint64_t lba = 0;
        uint64_t blocks = 0;
    };

    /// Writes the first state into an empty file; doesn't sync.
    [[nodiscard]] static Status format(int fd, const Identity& identity);

    /// Reads the file. `map` gets the checkpoint's states and, after a crash, the marks made since.
    struct Opened {
        std::unique_ptr<TopLog> log;
        BlockMap map;
        bool clean = false;
        bool untouched = false;  ///< As format() left it: not clean, and nothing was ever written.
    };
    [[nodiscard]] static Result<Opened> open(Fd meta);
    /// After a crash, checkpoint() must come before append(): what was torn is behind it then.

    [[nodiscard]] const Identity& identity() const { return identity_; }

    /// Says durably that the saved map is no longer the whole truth. Before the first write.
    [[nodiscard]] Status mark_dirty(TopIo& io);
    /// For a log whose format() isn't durable yet.
    [[nodiscard]] Status sync(TopIo& io);
    /// Whether the log takes `count` marks more; otherwise checkpoint() first.
    [[nodiscard]] bool has_room(size_t count) const;
    /// Appends marks and makes them durable. At most has_room().
    [[nodiscard]] Status append(std::span<const Mark> marks, TopIo& io);
    /// Saves the whole map durably and starts an empty log. All data it speaks of must be durable.
    /// kZeroPending is saved as what it will be: kZero.
    [[nodiscard]] Status checkpoint(const BlockMap& map, bool clean, TopIo& io);

  private:
    TopLog() = default;
    struct Super;
    [[nodiscard]] Status write_super(bool clean, TopIo& io);
    [[nodiscard]] Status load_checkpoint(BlockMap& map) const;
    [[nodiscard]] Status load_marks(BlockMap& map) const;

    Fd fd_;
    Identity identity_;
    uint64_t generation_ = 0;  ///< Of the last superblock written.
    uint64_t log_id_ = 0;      ///< Binds records to the checkpoint they follow.
    uint32_t region_ = 0;      ///< 0 or 1.
    uint32_t chunk_records_ = 0;
    uint64_t data_blocks_ = 0;
    uint32_t batch_ = 0;
    uint32_t marks_ = 0;  ///< Mark records in the region, torn ones included.
};

}  // namespace drupe::imagefs
