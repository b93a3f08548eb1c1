#include <liburing.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "imagefs/store/block_io.h"
#include "imagefs/store/disk_io.h"

namespace drupe::imagefs {
namespace {

/// The kernel's threads for what can't be done at once (ext4's buffered writes, syncs) count in the
/// machine's cgroup.
constexpr unsigned kMaxWorkers = 4;
constexpr int kMaxTries = 10'000;
/// Up to here a buffered write is made on the spot: it is a copy into the page cache, and ext4
/// can't do one for an io_uring without handing it to a worker, which costs a small write twenty
/// times its time (docs/adr/0004-block-path.md).
constexpr uint64_t kMostBytesOnTheSpot = 128 << 10;

class RingIo final : public DiskIo {
  public:
    RingIo() = default;
    ~RingIo() override {
        if (made_) ::io_uring_queue_exit(&ring_);
    }
    RingIo(const RingIo&) = delete;
    RingIo& operator=(const RingIo&) = delete;

    [[nodiscard]] Status set_up() {
        io_uring_params params{};
        params.flags = IORING_SETUP_R_DISABLED;
        TRY(check("set up an io_uring", ::io_uring_queue_init_params(kDepth, &ring_, &params)));
        made_ = true;
        if ((params.features & IORING_FEAT_SUBMIT_STABLE) == 0)
            return Error{ErrorCode::kUnsupported, "the host's io_uring is too old"};
        std::array<unsigned, 2> workers{kMaxWorkers, 1};
        TRY(check("limit the io_uring's workers",
                  ::io_uring_register_iowq_max_workers(&ring_, workers.data())));
        std::array<io_uring_restriction, 5> allowed{};
        constexpr std::array<uint8_t, 5> kOperations{
            IORING_OP_READ, IORING_OP_READV, IORING_OP_WRITE, IORING_OP_WRITEV, IORING_OP_FSYNC};
        for (size_t i = 0; i < allowed.size(); ++i) {
            allowed[i].opcode = IORING_RESTRICTION_SQE_OP;
            allowed[i].sqe_op = kOperations[i];
        }
        TRY(check("restrict the io_uring",
                  ::io_uring_register_restrictions(&ring_, allowed.data(), allowed.size())));
        return check("enable the io_uring", ::io_uring_enable_rings(&ring_));
    }

    void prepare(const DiskOperation& operation) override {
        if (operation.kind == DiskOperation::Kind::kWrite &&
            IovecCursor::total(operation.data) <= kMostBytesOnTheSpot) {
            ++on_the_spot_;
            return plain_->prepare(operation);
        }
        io_uring_sqe* const sqe = ::io_uring_get_sqe(&ring_);
        DRUPE_CHECK(sqe != nullptr && under_way_ < kDepth);
        ++under_way_;
        fill(*sqe, operation);
        ::io_uring_sqe_set_data(sqe, operation.token);
    }

    size_t run(std::span<DiskResult> results, bool wait) override {
        const bool blocks = wait && under_way_ > 0 && on_the_spot_ == 0;
        if (blocks || ::io_uring_sq_ready(&ring_) > 0) enter(blocks ? 1 : 0);
        const size_t written = std::exchange(on_the_spot_, 0) > 0 ? plain_->run(results, false) : 0;
        size_t count = written;
        io_uring_cqe* cqe = nullptr;
        while (count < results.size() && ::io_uring_peek_cqe(&ring_, &cqe) == 0) {
            results[count++] = {::io_uring_cqe_get_data(cqe), cqe->res};
            ::io_uring_cqe_seen(&ring_, cqe);
        }
        under_way_ -= count - written;
        return count;
    }

    // Not an eventfd: registered "async" it isn't signalled for reads that waited for the disk
    // (their end comes as task work, on this thread), and otherwise each batch would signal it.
    // The ring itself is readable exactly while it has results, and those that came with the
    // system call are taken before anybody looks.
    int ready_fd() const override { return ring_.ring_fd; }

  private:
    static Status check(const char* what, int result) {
        if (result < 0) return os_error(what, -result);
        return ok();
    }

    static void fill(io_uring_sqe& sqe, const DiskOperation& operation) {
        const auto [iov, count] =
            std::pair(operation.data.data(), static_cast<unsigned>(operation.data.size()));
        switch (operation.kind) {
            case DiskOperation::Kind::kRead:
                if (count == 1) {
                    return ::io_uring_prep_read(&sqe, operation.fd, iov->iov_base,
                                                static_cast<unsigned>(iov->iov_len),
                                                operation.offset);
                }
                return ::io_uring_prep_readv(&sqe, operation.fd, iov, count, operation.offset);
            case DiskOperation::Kind::kWrite:
                if (count == 1) {
                    return ::io_uring_prep_write(&sqe, operation.fd, iov->iov_base,
                                                 static_cast<unsigned>(iov->iov_len),
                                                 operation.offset);
                }
                return ::io_uring_prep_writev(&sqe, operation.fd, iov, count, operation.offset);
            case DiskOperation::Kind::kSync:
                return ::io_uring_prep_fsync(&sqe, operation.fd, IORING_FSYNC_DATASYNC);
        }
    }

    void enter(unsigned wait_for) {
        for (int tries = 0;; ++tries) {
            const int result = ::io_uring_submit_and_wait(&ring_, wait_for);
            const bool all = ::io_uring_sq_ready(&ring_) == 0;
            if (all && (result >= 0 || wait_for == 0)) return;
            // A host without memory for a request, for a while; anything else can't be.
            DRUPE_CHECK(result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY ||
                        result == -ENOMEM);
            DRUPE_CHECK(tries < kMaxTries);
        }
    }

    io_uring ring_{};
    bool made_ = false;
    size_t under_way_ = 0;  // in the ring
    std::unique_ptr<DiskIo> plain_ = make_plain_io();
    size_t on_the_spot_ = 0;  // prepared there
};

}  // namespace

Result<std::unique_ptr<DiskIo>> make_ring_io() {
    auto ring = std::make_unique<RingIo>();
    TRY(ring->set_up());
    return std::unique_ptr<DiskIo>(std::move(ring));
}

}  // namespace drupe::imagefs
