#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "imagefs/store/block_io.h"
#include "imagefs/store/layered_disk.h"

namespace drupe::imagefs {
namespace {

class RawDisk final : public BlockBackend, private DirectDisk {
  public:
    RawDisk(Fd fd, uint64_t size, bool read_only)
        : fd_(std::move(fd)), size_(size), read_only_(read_only) {}

    [[nodiscard]] uint64_t size_bytes() const override { return size_; }
    [[nodiscard]] bool read_only() const override { return read_only_; }

    [[nodiscard]] Status read(uint64_t offset, std::span<const iovec> out) override {
        const uint64_t length = IovecCursor::total(out);
        TRY(check_range(offset, length, size_));
        IovecCursor cursor(out);
        return read_at(fd_.get(), cursor, length, offset);
    }

    [[nodiscard]] Status write(uint64_t offset, std::span<const iovec> data) override {
        TRY(check_writable());
        const uint64_t length = IovecCursor::total(data);
        TRY(check_range(offset, length, size_));
        IovecCursor cursor(data);
        return write_at(fd_.get(), cursor, length, offset);
    }

    [[nodiscard]] Status flush() override {
        if (read_only_) return ok();
        if (failed_) return *failed_;
        Status synced = sync_data(fd_.get());
        if (!synced) failed_ = synced.error();
        return synced;
    }

    [[nodiscard]] Status write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override {
        TRY(check_writable());
        TRY(check_range(offset, length, size_));
        if (length == 0) return ok();
        const int mode = may_unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
        int result = 0;
        do {
            result = ::fallocate(fd_.get(), mode | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                                 static_cast<off_t>(length));
        } while (result < 0 && errno == EINTR);
        if (result == 0) return ok();
        if (errno != EOPNOTSUPP)
            return may_be_repeated(os_error(fmt::format("zero {} bytes at {}", length, offset)));
        return may_be_repeated(write_zero_bytes(offset, length));
    }

    [[nodiscard]] Status discard(uint64_t offset, uint64_t length) override {
        return write_zeroes(offset, length, true);
    }
    [[nodiscard]] DirectDisk* direct() override { return this; }

  private:
    [[nodiscard]] Result<DiskExtent> locate(uint64_t offset, uint64_t length) override {
        return DiskExtent{fd_.get(), offset, length};
    }
    [[nodiscard]] Result<DiskExtent> begin_write(uint64_t offset, uint64_t length) override {
        TRY(check_writable());
        return DiskExtent{fd_.get(), offset, length};
    }
    void end_write(uint64_t, uint64_t, bool) override {}
    [[nodiscard]] int flush_fd() const override { return read_only_ || failed_ ? -1 : fd_.get(); }
    void end_flush(const Status& synced) override {
        if (!synced) failed_ = synced.error();
    }

    [[nodiscard]] Status check_writable() const {
        if (read_only_) return Error{ErrorCode::kDenied, "the disk is read-only"};
        return ok();
    }

    /// For file systems without the fallocate modes.
    [[nodiscard]] Status write_zero_bytes(uint64_t offset, uint64_t length) {
        static constexpr std::array<std::byte, 65536> kZeroes{};
        while (length > 0) {
            const uint64_t part = std::min<uint64_t>(length, kZeroes.size());
            TRY(write_exact(fd_.get(), std::span(kZeroes).first(part), offset));
            offset += part;
            length -= part;
        }
        return ok();
    }

    Fd fd_;
    uint64_t size_;
    bool read_only_;
    std::optional<Error> failed_;
};

}  // namespace

Result<std::unique_ptr<BlockBackend>> open_raw_disk(Fd fd, bool read_only) {
    const off_t size = ::lseek(fd.get(), 0, SEEK_END);
    if (size < 0) return os_error("find the size of a raw disk");
    if (static_cast<uint64_t>(size) % BlockBackend::kBlockSize != 0) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("a raw disk's size must be a multiple of {} bytes, not {}",
                                 BlockBackend::kBlockSize, size)};
    }
    return std::unique_ptr<BlockBackend>(
        std::make_unique<RawDisk>(std::move(fd), static_cast<uint64_t>(size), read_only));
}

}  // namespace drupe::imagefs
