#pragma once

#include <sys/uio.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/log.h"
#include "base/result.h"
#include "imagefs/store/block_backend.h"
#include "imagefs/store/block_io.h"
#include "imagefs/store/disk_io.h"

namespace drupe::imagefs {

/// Something that a disk is to do. Its owner fills the upper half and leaves all of it alone until
/// the DiskQueue gives it back; it may be used again then, and keeps its memory.
class DiskRequest {
  public:
    enum class Kind : uint8_t { kRead, kWrite, kFlush, kWriteZeroes, kDiscard };
    struct Range {
        uint64_t offset = 0;  ///< Bytes.
        uint64_t length = 0;
        bool may_unmap = false;  ///< kWriteZeroes.
    };

    Kind kind{};
    uint64_t offset = 0;        ///< Bytes; kRead, kWrite.
    uint64_t length = 0;        ///< Bytes; the sum of iovecs.
    std::vector<iovec> iovecs;  ///< kRead, kWrite; may point into guest memory.
    std::vector<Range> ranges;  ///< kWriteZeroes, kDiscard; done one after the other.

  private:
    friend class DiskQueue;
    IovecCursor cursor_{{}};
    uint64_t done_ = 0;   // bytes
    DiskExtent target_;   // of a write
    size_t place_ = 0;    // in DiskQueue::started_
    unsigned tries_ = 0;  // EAGAIN, EINTR
    bool alone_ = false;  // served by the BlockBackend, with nothing else under way
    bool waits_for_room_ = false;
};

/// Does the requests of one disk, many at once, straight between its files and the requests'
/// memory, allocating nothing. Requests begin in their order, with these exceptions to "at once":
/// a read waits for a write under way that it overlaps, a write for every request that it overlaps;
/// discards, write-zeroes, flushes that have more to do than an fdatasync, and everything on a
/// backend that isn't a DirectDisk wait until nothing is under way. Behind one that waits, all
/// wait.
///
/// A flush covers the writes that ended before it was submitted. When the host's file system is
/// full the disk pauses: what needs room is kept and tried again each second, nothing new begins,
/// nothing fails.
///
/// One thread, its loop's.
class DiskQueue {
  public:
    static constexpr size_t kDepth = DiskIo::kDepth;  ///< Most requests at a time.

    /// Who gets requests back.
    class Client {
      public:
        virtual ~Client() = default;
        /// The request is its owner's again. May call submit(), nothing else of the queue; comes
        /// from within submit(), run(), retry() and cancel().
        virtual void done(DiskRequest& request, const Status& status) = 0;
        /// Called by the loop after some done(), when the queue went on by itself.
        virtual void progressed() = 0;
    };
    struct Options {
        std::string name;            ///< For the log.
        EventLoop* loop = nullptr;   ///< Outlives the queue; nullptr: only run() and retry() go on.
        std::unique_ptr<DiskIo> io;  ///< nullptr: plain calls.
    };

    /// The client outlives the queue.
    DiskQueue(Options options, Client& client);
    DiskQueue(const DiskQueue&) = delete;
    DiskQueue& operator=(const DiskQueue&) = delete;
    /// Nothing may be outstanding.
    ~DiskQueue();

    /// The disk that requests are for from now on, nullptr for none; only while idle(). Not owned.
    void use(BlockBackend* disk);

    /// Whether submit() would begin a request now, as far as those before it go.
    [[nodiscard]] bool accepts() const;
    [[nodiscard]] bool idle() const { return outstanding_ == 0; }
    /// Takes a request: it begins, or waits. Fewer than kDepth may be outstanding. kInvalid if the
    /// range isn't inside the disk.
    void submit(DiskRequest& request);
    /// Hands what was submitted to the system and gives back what has ended. Call it after a batch.
    void run();
    /// The same, and blocks until something ends, unless the disk is paused or idle.
    void wait();

    /// No room on the host: requests wait. Any thread.
    [[nodiscard]] bool paused() const { return full_.load(); }
    /// Tries at once, not only at the next second.
    void retry();
    /// Gives everything back: what waits at once with kConflict, what is under way when the system
    /// has let go of its memory. Blocks until then. Idle afterwards.
    void cancel();

  private:
    void start_waiting();
    [[nodiscard]] bool may_start(DiskRequest& request) const;
    [[nodiscard]] bool needs_the_disk_alone(const DiskRequest& request) const;
    void start(DiskRequest& request);
    void go_on(DiskRequest& request);
    [[nodiscard]] Result<DiskExtent> next_piece(const DiskRequest& request) const;
    [[nodiscard]] Status serve(const DiskRequest& request);
    void reap(bool wait);
    void land(DiskRequest& request, int result);
    void prepare(DiskRequest& request, DiskOperation::Kind kind, const DiskExtent& where);
    void pause(DiskRequest& request, const std::string& why);
    [[nodiscard]] bool say_full(const std::string& why);
    void found_room();
    void end(DiskRequest& request, const Status& status);
    void give_back(DiskRequest& request, const Status& status);

    const std::string name_;
    EventLoop* const loop_;
    const std::unique_ptr<DiskIo> io_;
    Client& client_;
    BlockBackend* disk_ = nullptr;
    DirectDisk* direct_ = nullptr;

    std::array<DiskRequest*, kDepth> started_{};  // the first started_count_
    size_t started_count_ = 0;
    size_t writes_ = 0;                        // of those
    std::array<DiskRequest*, kDepth> line_{};  // a ring: line_count_ from line_first_ on
    size_t line_first_ = 0;
    size_t line_count_ = 0;
    size_t outstanding_ = 0;  // started, in line, or being given back
    size_t prepared_ = 0;     // operations that io_->run() hasn't seen
    /// Of the prepared ones, by their number. Not touched before it's used.
    std::unique_ptr<std::array<IovecCursor::Window, kDepth>> windows_;
    bool cancelling_ = false;
    size_t waiting_for_room_ = 0;     // of the started ones
    std::atomic<bool> full_ = false;  // from the first that waits until one goes through again
    bool told_ = false;               // the log has that
    LogLimit pauses_;
    std::array<DiskResult, kDepth> results_{};
    EventLoop::Watch ready_;
    EventLoop::Watch retry_timer_;
};

}  // namespace drupe::imagefs
