#include "imagefs/store/disk_queue.h"

#include <fmt/core.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "base/check.h"

namespace drupe::imagefs {
namespace {

using Kind = DiskRequest::Kind;

constexpr auto kRetryEvery = std::chrono::seconds(1);
constexpr unsigned kMaxTries = 1000;  // of one operation, against EAGAIN and EINTR

bool moves_bytes(const DiskRequest& request) {
    return request.kind == Kind::kRead || request.kind == Kind::kWrite;
}

bool overlap(const DiskRequest& a, const DiskRequest& b) {
    return a.offset < b.offset + b.length && b.offset < a.offset + a.length;
}

/// The host's file system has no room for a write, or its own quota hasn't. (A DirectDisk's quota
/// is begin_write()'s to refuse.)
bool is_full(int error_number) {
    return error_number == ENOSPC || error_number == EDQUOT;
}

const char* name_of(Kind kind) {
    return kind == Kind::kRead ? "read" : kind == Kind::kWrite ? "write" : "fdatasync";
}

Error cancelled() {
    return Error{ErrorCode::kConflict, "the disk's requests were cancelled"};
}

}  // namespace

DiskQueue::DiskQueue(Options options, Client& client)
    : name_(std::move(options.name)),
      loop_(options.loop),
      io_(options.io ? std::move(options.io) : make_plain_io()),
      client_(client),
      windows_(std::make_unique_for_overwrite<decltype(windows_)::element_type>()) {
    if (loop_ == nullptr || io_->ready_fd() < 0) return;
    ready_ = loop_->on_readable(io_->ready_fd(), [this] {
        run();
        client_.progressed();
    });
}

DiskQueue::~DiskQueue() {
    DRUPE_CHECK(idle());
}

void DiskQueue::use(BlockBackend* disk) {
    DRUPE_CHECK(idle());
    disk_ = disk;
    direct_ = disk != nullptr ? disk->direct() : nullptr;
}

bool DiskQueue::accepts() const {
    return line_count_ == 0 && outstanding_ < kDepth && waiting_for_room_ == 0;
}

void DiskQueue::submit(DiskRequest& request) {
    DRUPE_CHECK(disk_ != nullptr && outstanding_ < kDepth);
    ++outstanding_;
    if (cancelling_) return give_back(request, cancelled());
    if (moves_bytes(request)) {
        const Status inside = check_range(request.offset, request.length, disk_->size_bytes());
        if (!inside || request.length == 0) return give_back(request, inside);
        DRUPE_CHECK(IovecCursor::total(request.iovecs) == request.length);
    }
    request.cursor_ = IovecCursor(request.iovecs);
    request.done_ = 0;
    request.tries_ = 0;
    if (line_count_ == 0 && may_start(request)) return start(request);
    line_[(line_first_ + line_count_++) % kDepth] = &request;
}

void DiskQueue::start_waiting() {
    while (line_count_ > 0 && may_start(*line_[line_first_])) {
        DiskRequest& request = *line_[line_first_];
        line_first_ = (line_first_ + 1) % kDepth;
        --line_count_;
        start(request);
    }
}

bool DiskQueue::may_start(DiskRequest& request) const {
    if (waiting_for_room_ > 0) return false;
    request.alone_ = needs_the_disk_alone(request);
    if (request.alone_) return started_count_ == 0;
    const bool is_write = request.kind == Kind::kWrite;
    if (!is_write && (request.kind != Kind::kRead || writes_ == 0)) return true;
    for (size_t i = 0; i < started_count_; ++i) {
        const DiskRequest& other = *started_[i];
        if (!moves_bytes(other) || (!is_write && other.kind != Kind::kWrite)) continue;
        if (overlap(request, other)) return false;
    }
    return true;
}

bool DiskQueue::needs_the_disk_alone(const DiskRequest& request) const {
    if (direct_ == nullptr) return true;
    if (moves_bytes(request)) return false;
    return request.kind != Kind::kFlush || direct_->flush_fd() < 0;
}

/// It may have ended when this returns.
void DiskQueue::start(DiskRequest& request) {
    const bool writes = request.kind == Kind::kWrite;
    if (writes && !request.alone_) {
        const auto target = direct_->begin_write(request.offset, request.length);
        if (!target) return give_back(request, target.error());
        request.target_ = target.value();
    }
    request.place_ = started_count_;
    started_[started_count_++] = &request;
    if (writes) ++writes_;
    go_on(request);
}

Result<DiskExtent> DiskQueue::next_piece(const DiskRequest& request) const {
    const uint64_t left = request.length - request.done_;
    if (request.kind == Kind::kWrite)
        return DiskExtent{request.target_.fd, request.target_.offset + request.done_, left};
    // A short read may have ended within a block.
    const uint64_t in_block = request.done_ % BlockBackend::kBlockSize;
    const uint64_t start = request.offset + request.done_ - in_block;
    TRY_ASSIGN(DiskExtent piece, direct_->locate(start, left + in_block));
    piece.offset += in_block;
    piece.bytes -= in_block;
    return piece;
}

/// The next operation of a request that was started; or its end, if there is none.
void DiskQueue::go_on(DiskRequest& request) {
    if (request.alone_) {
        const Status served = serve(request);
        if (waits_for_room(served)) return pause(request, served.error().message);
        found_room();
        return end(request, served);
    }
    if (request.kind == Kind::kFlush) {
        const int fd = direct_->flush_fd();
        // Another flush has failed since this one was started: then this one fails, too.
        if (fd < 0) return end(request, disk_->flush());
        return prepare(request, DiskOperation::Kind::kSync, {fd, 0, 0});
    }
    while (request.done_ < request.length) {
        const Result<DiskExtent> piece = next_piece(request);
        if (!piece) return end(request, piece.error());
        if (!piece.value().zeroes()) {
            const bool reads = request.kind == Kind::kRead;
            return prepare(request,
                           reads ? DiskOperation::Kind::kRead : DiskOperation::Kind::kWrite,
                           piece.value());
        }
        request.cursor_.zero(piece.value().bytes);
        request.done_ += piece.value().bytes;
    }
    end(request, ok());
}

void DiskQueue::prepare(DiskRequest& request, DiskOperation::Kind kind, const DiskExtent& where) {
    IovecCursor::Window& window = (*windows_)[prepared_++];
    io_->prepare(
        {kind, where.fd, request.cursor_.peek(where.bytes, window), where.offset, &request});
}

/// By the backend itself: nothing else is under way.
Status DiskQueue::serve(const DiskRequest& request) {
    switch (request.kind) {
        case Kind::kRead:
            return disk_->read(request.offset, request.iovecs);
        case Kind::kWrite:
            return disk_->write(request.offset, request.iovecs);
        case Kind::kFlush:
            return disk_->flush();
        case Kind::kWriteZeroes:
            for (const DiskRequest::Range& range : request.ranges) {
                TRY(disk_->write_zeroes(range.offset, range.length, range.may_unmap));
            }
            return ok();
        case Kind::kDiscard:
            for (const DiskRequest::Range& range : request.ranges) {
                TRY(disk_->discard(range.offset, range.length));
            }
            return ok();
    }
    return Error{ErrorCode::kInternal, "a disk's request of no kind"};
}

void DiskQueue::run() {
    do {
        reap(false);
        start_waiting();
    } while (prepared_ > 0);
}

void DiskQueue::wait() {
    if (started_count_ > waiting_for_room_) reap(true);
    run();
}

void DiskQueue::reap(bool wait) {
    prepared_ = 0;
    const size_t count = io_->run(results_, wait);
    for (size_t i = 0; i < count; ++i)
        land(*static_cast<DiskRequest*>(results_[i].token), results_[i].result);
}

void DiskQueue::land(DiskRequest& request, int result) {
    if ((result == -EINTR || result == -EAGAIN) && !cancelling_ && ++request.tries_ < kMaxTries)
        return go_on(request);
    if (request.kind == Kind::kFlush) {
        const Status synced = result < 0 ? Status(os_error("fdatasync", -result)) : Status(ok());
        direct_->end_flush(synced);
        return end(request, synced);
    }
    if (result < 0) {
        const Error error = os_error(
            fmt::format("{} at byte {}", name_of(request.kind), request.offset + request.done_),
            -result);
        if (request.kind == Kind::kWrite && is_full(-result) && !cancelling_)
            return pause(request, error.message);
        return end(request, error);
    }
    if (result == 0) {
        return end(request, Error{ErrorCode::kCorrupt,
                                  fmt::format("a file of the disk ends before its byte {} does",
                                              request.offset + request.done_)});
    }
    request.cursor_.advance(static_cast<uint64_t>(result));
    request.done_ += static_cast<uint64_t>(result);
    request.tries_ = 0;
    if (request.kind == Kind::kWrite) found_room();
    if (cancelling_ && request.done_ < request.length) return end(request, cancelled());
    go_on(request);
}

/// True if the log has it.
bool DiskQueue::say_full(const std::string& why) {
    if (!pauses_.pass()) return false;
    log(LogLevel::kWarn,
        "{}: the host has no room for what the guest writes ({}). The guest's disk waits, nothing "
        "is lost; free space on the host and it goes on by itself",
        name_, why);
    return true;
}

void DiskQueue::pause(DiskRequest& request, const std::string& why) {
    request.waits_for_room_ = true;
    ++waiting_for_room_;
    if (!full_.exchange(true)) told_ = say_full(why);
    if (loop_ == nullptr || retry_timer_) return;
    retry_timer_ = loop_->after(kRetryEvery, [this] {
        retry();
        client_.progressed();
    });
}

void DiskQueue::found_room() {
    if (waiting_for_room_ > 0 || !full_.exchange(false) || !told_) return;
    log(LogLevel::kInfo, "{}: the host has room again, the guest's disk goes on", name_);
}

void DiskQueue::retry() {
    retry_timer_.reset();
    // From the back: one that ends is replaced by the last, which was looked at already.
    for (size_t i = started_count_; i-- > 0;) {
        DiskRequest& request = *started_[i];
        if (!std::exchange(request.waits_for_room_, false)) continue;
        --waiting_for_room_;
        go_on(request);
    }
    run();
}

void DiskQueue::cancel() {
    cancelling_ = true;
    for (; line_count_ > 0; --line_count_) {
        DiskRequest& request = *line_[line_first_];
        line_first_ = (line_first_ + 1) % kDepth;
        give_back(request, cancelled());
    }
    for (size_t i = started_count_; i-- > 0;) {
        DiskRequest& request = *started_[i];
        if (!std::exchange(request.waits_for_room_, false)) continue;
        --waiting_for_room_;
        end(request, cancelled());
    }
    while (started_count_ > 0) reap(true);
    retry_timer_.reset();
    full_ = false;
    cancelling_ = false;
    DRUPE_CHECK(idle());
}

void DiskQueue::end(DiskRequest& request, const Status& status) {
    if (request.kind == Kind::kWrite) {
        --writes_;
        if (!request.alone_) direct_->end_write(request.offset, request.length, status.has_value());
    }
    DiskRequest* const last = started_[--started_count_];
    started_[request.place_] = last;
    last->place_ = request.place_;
    give_back(request, status);
}

void DiskQueue::give_back(DiskRequest& request, const Status& status) {
    --outstanding_;
    client_.done(request, status);
}

}  // namespace drupe::imagefs
