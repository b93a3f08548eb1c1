#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/check.h"
#include "imagefs/store/disk_io.h"

namespace drupe::imagefs {
namespace {

class PlainIo final : public DiskIo {
  public:
    void prepare(const DiskOperation& operation) override {
        DRUPE_CHECK(count_ < kDepth);
        operations_[count_++] = operation;
    }

    size_t run(std::span<DiskResult> results, bool /*wait*/) override {
        DRUPE_CHECK(results.size() >= count_);
        for (size_t i = 0; i < count_; ++i)
            results[i] = {operations_[i].token, call(operations_[i])};
        return std::exchange(count_, 0);
    }

    int ready_fd() const override { return -1; }

  private:
    static int call(const DiskOperation& operation) {
        const int fd = operation.fd;
        const iovec* const data = operation.data.data();
        const int count = static_cast<int>(operation.data.size());
        const auto offset = static_cast<off_t>(operation.offset);
        ssize_t result = 0;
        switch (operation.kind) {
            case DiskOperation::Kind::kRead:
                result = ::preadv(fd, data, count, offset);
                break;
            case DiskOperation::Kind::kWrite:
                result = ::pwritev(fd, data, count, offset);
                break;
            case DiskOperation::Kind::kSync:
                result = ::fdatasync(fd);
                break;
        }
        return result < 0 ? -errno : static_cast<int>(result);
    }

    std::array<DiskOperation, kDepth> operations_;
    size_t count_ = 0;
};

}  // namespace

std::unique_ptr<DiskIo> make_plain_io() {
    return std::make_unique<PlainIo>();
}

}  // namespace drupe::imagefs
