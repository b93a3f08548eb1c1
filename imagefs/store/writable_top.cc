#include "imagefs/store/writable_top.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "imagefs/store/block_io.h"
#include "imagefs/store/layer_format.h"

namespace drupe::imagefs {
namespace {

constexpr size_t kMaxPending = 1024;        // ranges; then zero() flushes by itself
constexpr size_t kMaxMarksPerFlush = 4096;  // more are saved as a checkpoint
constexpr uint64_t kMaxMarkBlocks = 1U << 31;

TopIo& real_io() {
    static TopIo io;
    return io;
}

class VolatileIo final : public TopIo {
  public:
    [[nodiscard]] Status sync(int /*fd*/) override { return ok(); }
};

TopIo& volatile_io() {
    static VolatileIo io;
    return io;
}

Result<struct stat> stat_of(int fd, const char* what) {
    struct stat st {};
    if (::fstat(fd, &st) < 0) return os_error(fmt::format("{}: fstat", what));
    return st;
}

/// Marks as kData whatever the file has. Only correct where the file system reports holes exactly,
/// which Store::open probes.
Status find_data(int fd, BlockMap& map) {
    const uint64_t size = map.blocks() * kBlock;
    uint64_t position = 0;
    while (position < size) {
        const off_t data = ::lseek(fd, static_cast<off_t>(position), SEEK_DATA);
        if (data < 0 && errno == ENXIO) return ok();
        if (data < 0) return os_error("top's data file: SEEK_DATA");
        const off_t hole = ::lseek(fd, data, SEEK_HOLE);
        if (hole < 0) return os_error("top's data file: SEEK_HOLE");
        const uint64_t first = static_cast<uint64_t>(data) / kBlock;
        const uint64_t end =
            std::min(round_up_to_block(static_cast<uint64_t>(hole)), size) / kBlock;
        if (end <= first) break;  // can't be; a bound for the loop
        map.set(first, end - first, BlockState::kData);
        position = end * kBlock;
    }
    return ok();
}

}  // namespace

Status TopIo::sync(int fd) {
    return sync_data(fd);
}
Status TopIo::punch(int fd, uint64_t offset_bytes, uint64_t length_bytes) {
    return punch_hole(fd, offset_bytes, length_bytes);
}

WritableTop::WritableTop(Fd data, BlockMap map)
    : data_(std::move(data)), io_(&real_io()), map_(std::move(map)) {}

Status WritableTop::format(int data_fd, int meta_fd, uint64_t virtual_blocks,
                           const ChainId& chain_id) {
    if (virtual_blocks == 0 || virtual_blocks > kMaxVirtualBlocks) {
        return Error{ErrorCode::kInvalid, fmt::format("a disk of {} blocks", virtual_blocks)};
    }
    if (::ftruncate(data_fd, static_cast<off_t>(virtual_blocks * kBlock)) < 0) {
        return os_error("top's data file: set its size");
    }
    TRY_ASSIGN(const struct stat st, stat_of(data_fd, "top's data file"));
    return TopLog::format(meta_fd, {chain_id, virtual_blocks, st.st_ino});
}

Result<WritableTop> WritableTop::open(Fd data, Fd meta, TopIo* io) {
    TRY_ASSIGN(WritableTop top, load(std::move(data), std::move(meta), io));
    // A new one says "not clean" already, so starting a machine waits for no disk.
    if (top.was_clean_ && !top.unsynced_) {
        TRY(top.log_->mark_dirty(*top.io_));
    }
    return top;
}

struct WritableTop::Found {
    WritableTop top;
    bool untouched = false;
};

Result<WritableTop::Found> WritableTop::find(Fd data, Fd meta) {
    TRY_ASSIGN(TopLog::Opened opened, TopLog::open(std::move(meta)));
    TRY_ASSIGN(const struct stat st, stat_of(data.get(), "top's data file"));
    const TopLog::Identity& identity = opened.log->identity();
    if (st.st_ino != identity.data_inode) {
        return Error{ErrorCode::kConflict,
                     fmt::format("top's data file: it is inode {} instead of {}, so it was copied; "
                                 "a copy may have lost its holes and is refused",
                                 st.st_ino, identity.data_inode)};
    }
    if (static_cast<uint64_t>(st.st_size) != identity.virtual_blocks * kBlock) {
        return Error{ErrorCode::kCorrupt,
                     fmt::format("top's data file: {} bytes long instead of {}", st.st_size,
                                 identity.virtual_blocks * kBlock)};
    }
    Found found{WritableTop(std::move(data), std::move(opened.map)), opened.untouched};
    found.top.chain_id_ = identity.chain_id;
    found.top.was_clean_ = opened.clean;
    found.top.log_ = std::move(opened.log);
    if (!opened.clean) {
        TRY(find_data(found.top.data_.get(), found.top.map_));
    }
    return found;
}

Result<WritableTop> WritableTop::open_to_read(Fd data, Fd meta) {
    TRY_ASSIGN(Found found, find(std::move(data), std::move(meta)));
    return std::move(found.top);
}

Result<WritableTop> WritableTop::load(Fd data, Fd meta, TopIo* io) {
    TRY_ASSIGN(Found found, find(std::move(data), std::move(meta)));
    WritableTop top = std::move(found.top);
    if (io != nullptr) top.io_ = io;
    if (top.was_clean_) return top;
    if (found.untouched && top.map_.count(BlockState::kAbsent) == top.map_.blocks()) {
        top.was_clean_ = true;
        top.unsynced_ = true;
        return top;
    }
    // A crash. Data beats marks; a block of the saved map that is a hole now stays kData and reads
    // as zeroes, which is what it is: punched where the parent has nothing, or a zero block that
    // some tool turned into a hole.
    // What was found may still be in the page cache alone; a checkpoint must not outlive it.
    TRY(top.io_->sync(top.data_.get()));
    TRY(top.log_->checkpoint(top.map_, false, *top.io_));
    return top;
}

Result<WritableTop> WritableTop::scratch(Fd data, uint64_t virtual_blocks) {
    if (virtual_blocks == 0 || virtual_blocks > kMaxVirtualBlocks) {
        return Error{ErrorCode::kInvalid, fmt::format("a disk of {} blocks", virtual_blocks)};
    }
    if (::ftruncate(data.get(), static_cast<off_t>(virtual_blocks * kBlock)) < 0) {
        return os_error("scratch file: set its size");
    }
    return WritableTop(std::move(data), BlockMap(virtual_blocks));
}

void WritableTop::make_volatile() {
    io_ = &volatile_io();
    volatile_ = true;
}

void WritableTop::limit(uint64_t max_blocks) {
    max_blocks_ = max_blocks;
    used_blocks_ = max_blocks;  // counted when the first block is reserved
}

/// Those of the range that the data file doesn't have.
uint64_t WritableTop::fresh_blocks(uint64_t lba, uint64_t blocks) const {
    uint64_t fresh = 0;
    for (uint64_t done = 0; done < blocks;) {
        const BlockMap::Run run = map_.run(lba + done, blocks - done);
        const bool there = run.state == BlockState::kData || run.state == BlockState::kZeroPending;
        if (!there) fresh += run.blocks;
        done += run.blocks;
    }
    return fresh;
}

Status WritableTop::begin_write(uint64_t lba, uint64_t blocks) {
    if (max_blocks_ == 0) return ok();
    const uint64_t fresh = fresh_blocks(lba, blocks);
    if (fresh == 0) return ok();
    if (used_blocks_ + fresh > max_blocks_) {  // some may have been given back since
        used_blocks_ =
            map_.count(BlockState::kData) + map_.count(BlockState::kZeroPending) + writing_blocks_;
    }
    if (used_blocks_ + fresh > max_blocks_) {
        return Error{ErrorCode::kLimit,
                     fmt::format("the disk may have {} MiB of the host's and has them",
                                 max_blocks_ * kBlock >> 20),
                     EDQUOT};
    }
    used_blocks_ += fresh;
    writing_blocks_ += fresh;
    return ok();
}

void WritableTop::end_write(uint64_t lba, uint64_t blocks, bool landed) {
    if (max_blocks_ != 0) writing_blocks_ -= fresh_blocks(lba, blocks);
    if (landed) map_.set(lba, blocks, BlockState::kData);
}

Status WritableTop::zero(uint64_t lba, uint64_t blocks) {
    if (log_ == nullptr) {
        TRY(may_be_repeated(io_->punch(data_.get(), lba * kBlock, blocks * kBlock)));
        map_.set(lba, blocks, BlockState::kZero);
        return ok();
    }
    if (pending_.size() == kMaxPending) {
        TRY(flush());
    }
    map_.set(lba, blocks, BlockState::kZeroPending);
    if (!pending_.empty() && pending_.back().lba + pending_.back().blocks == lba) {
        pending_.back().blocks += blocks;
    } else {
        pending_.push_back({lba, blocks});
    }
    return ok();
}

Status WritableTop::drop(uint64_t lba, uint64_t blocks) {
    TRY(may_be_repeated(io_->punch(data_.get(), lba * kBlock, blocks * kBlock)));
    map_.set(lba, blocks, BlockState::kAbsent);
    return ok();
}

template <class Visit>
Status WritableTop::for_pending_runs(Visit visit) {
    for (const Range& range : pending_) {
        for (uint64_t done = 0; done < range.blocks;) {
            const BlockMap::Run run = map_.run(range.lba + done, range.blocks - done);
            if (run.state == BlockState::kZeroPending) {
                TRY(visit(range.lba + done, run.blocks));
            }
            done += run.blocks;
        }
    }
    return ok();
}

Status WritableTop::make_marks_durable() {
    std::vector<TopLog::Mark> marks;
    bool too_many = false;
    const auto collect = [&](uint64_t lba, uint64_t blocks) -> Status {
        while (blocks > 0 && !too_many) {
            const uint64_t part = std::min(blocks, kMaxMarkBlocks);
            marks.push_back({lba, part});
            too_many = marks.size() > kMaxMarksPerFlush;
            lba += part;
            blocks -= part;
        }
        return ok();
    };
    TRY(for_pending_runs(collect));
    if (!too_many && log_->has_room(marks.size())) return log_->append(marks, *io_);
    TRY(io_->sync(data_.get()));  // the checkpoint speaks of data, too
    return log_->checkpoint(map_, false, *io_);
}

Status WritableTop::try_flush() {
    if (unsynced_) {
        TRY(log_->sync(*io_));
        unsynced_ = false;
    }
    if (!pending_.empty()) {
        TRY(make_marks_durable());
        const auto punch = [&](uint64_t lba, uint64_t blocks) -> Status {
            TRY(may_be_repeated(io_->punch(data_.get(), lba * kBlock, blocks * kBlock)));
            map_.set(lba, blocks, BlockState::kZero);
            return ok();
        };
        TRY(for_pending_runs(punch));
        pending_.clear();
    }
    return io_->sync(data_.get());
}

Status WritableTop::flush() {
    if (failed_) return *failed_;
    Status flushed = try_flush();
    if (!flushed && !waits_for_room(flushed)) failed_ = flushed.error();
    return flushed;
}

Status WritableTop::close() {
    TRY(flush());
    if (log_ == nullptr) return ok();
    return log_->checkpoint(map_, true, *io_);
}

}  // namespace drupe::imagefs
