#include "imagefs/store/block_io.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "imagefs/store/block_backend.h"

namespace drupe::imagefs {
namespace {

template <class Call>
Status transfer(const char* name, IovecCursor& cursor, uint64_t bytes, uint64_t offset, Call call) {
    IovecCursor::Window window;
    while (bytes > 0) {
        const std::span<const iovec> part = cursor.peek(bytes, window);
        const ssize_t n =
            call(part.data(), static_cast<int>(part.size()), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_error(fmt::format("{} at byte {}", name, offset));
        if (n == 0) {
            return Error{ErrorCode::kCorrupt, fmt::format("the file ends at byte {}, before its "
                                                          "data does",
                                                          offset)};
        }
        cursor.advance(static_cast<uint64_t>(n));
        bytes -= static_cast<uint64_t>(n);
        offset += static_cast<uint64_t>(n);
    }
    return ok();
}

}  // namespace

Status read_at(int fd, IovecCursor& out, uint64_t bytes, uint64_t offset) {
    return transfer("preadv", out, bytes, offset, [fd](const iovec* v, int count, off_t at) {
        return ::preadv(fd, v, count, at);
    });
}

Status write_at(int fd, IovecCursor& data, uint64_t bytes, uint64_t offset) {
    return transfer("pwritev", data, bytes, offset, [fd](const iovec* v, int count, off_t at) {
        return ::pwritev(fd, v, count, at);
    });
}

Status check_range(uint64_t offset, uint64_t length, uint64_t size_bytes) {
    constexpr uint64_t kBlock = BlockBackend::kBlockSize;
    if (offset % kBlock == 0 && length % kBlock == 0 && offset <= size_bytes &&
        length <= size_bytes - offset) {
        return ok();
    }
    return Error{ErrorCode::kInvalid,
                 fmt::format("{} bytes at {} are not whole blocks inside a disk of {} bytes",
                             length, offset, size_bytes)};
}

bool waits_for_room(const Status& status) {
    return !status && status.error().code == ErrorCode::kLimit && status.error().os_errno == ENOSPC;
}

Status may_be_repeated(Status status) {
    if (status || status.error().os_errno != ENOSPC) return status;
    Error error = std::move(status).error();
    error.code = ErrorCode::kLimit;
    return error;
}

Status punch_hole(int fd, uint64_t offset, uint64_t length) {
    while (::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                       static_cast<off_t>(length)) < 0) {
        if (errno != EINTR) {
            return os_error(fmt::format("punch a hole of {} bytes at {}", length, offset));
        }
    }
    return ok();
}

Status sync_data(int fd) {
    while (::fdatasync(fd) < 0) {
        if (errno != EINTR) return os_error("fdatasync");
    }
    return ok();
}

}  // namespace drupe::imagefs
