#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "base/check.h"
#include "imagefs/store/disk_queue.h"

namespace drupe::imagefs::test {

/// A DiskQueue as a BlockBackend: each call is a request that is waited for. For the conformance
/// suite.
class QueuedDisk final : public BlockBackend, private DiskQueue::Client {
  public:
    QueuedDisk(std::unique_ptr<BlockBackend> disk, std::unique_ptr<DiskIo> io)
        : disk_(std::move(disk)), queue_({"test", nullptr, std::move(io)}, *this) {
        queue_.use(disk_.get());
    }

    [[nodiscard]] uint64_t size_bytes() const override { return disk_->size_bytes(); }
    [[nodiscard]] bool read_only() const override { return disk_->read_only(); }
    [[nodiscard]] Status read(uint64_t offset, std::span<const iovec> out) override {
        return transfer(DiskRequest::Kind::kRead, offset, out);
    }
    [[nodiscard]] Status write(uint64_t offset, std::span<const iovec> data) override {
        return transfer(DiskRequest::Kind::kWrite, offset, data);
    }
    [[nodiscard]] Status flush() override {
        request_.kind = DiskRequest::Kind::kFlush;
        return finish();
    }
    [[nodiscard]] Status write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override {
        return clear(DiskRequest::Kind::kWriteZeroes, {offset, length, may_unmap});
    }
    [[nodiscard]] Status discard(uint64_t offset, uint64_t length) override {
        return clear(DiskRequest::Kind::kDiscard, {offset, length, true});
    }

  private:
    Status transfer(DiskRequest::Kind kind, uint64_t offset, std::span<const iovec> data) {
        request_.kind = kind;
        request_.offset = offset;
        request_.iovecs.assign(data.begin(), data.end());
        request_.length = IovecCursor::total(data);
        return finish();
    }
    Status clear(DiskRequest::Kind kind, DiskRequest::Range range) {
        request_.kind = kind;
        request_.ranges = {range};
        return finish();
    }
    Status finish() {
        result_.reset();
        queue_.submit(request_);
        while (!result_) queue_.wait();
        DRUPE_CHECK(queue_.idle());
        return *result_;
    }
    void done(DiskRequest& /*request*/, const Status& status) override { result_ = status; }
    void progressed() override {}

    std::unique_ptr<BlockBackend> disk_;
    DiskRequest request_;
    std::optional<Status> result_;
    DiskQueue queue_;
};

}  // namespace drupe::imagefs::test
