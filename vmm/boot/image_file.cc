#include "vmm/boot/image_file.h"

#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>

#include "base/fd.h"

namespace drupe {
namespace {

constexpr uint64_t kPage = 4096;

}  // namespace

Result<ImageFile> ImageFile::create(int fd, const char* what) {
    struct stat info {};
    if (::fstat(fd, &info) < 0) return os_error(what);
    if (!S_ISREG(info.st_mode)) {
        return Error{ErrorCode::kInvalid, std::string(what) + ": not a regular file"};
    }
    return ImageFile(fd, what, static_cast<uint64_t>(info.st_size));
}

Error ImageFile::error(ErrorCode code, std::string_view why) const {
    return Error{code, std::string(what_) + ": " + std::string(why)};
}

Status ImageFile::read(uint64_t offset, std::span<std::byte> out) const {
    if (!contains(offset, out.size())) return error(ErrorCode::kInvalid, "the file is truncated");
    if (auto status = read_exact(fd_, out, offset); !status)
        return std::move(status).error().wrap(what_);
    return ok();
}

Status ImageFile::read_into(uint64_t offset, GuestSlice slice) const {
    while (!slice.empty()) {
        const iovec target = slice.as_iovec();
        const ssize_t n = ::preadv(fd_, &target, 1, static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_error(what_);
        if (n == 0) return error(ErrorCode::kInvalid, "the file became shorter while it was read");
        offset += static_cast<uint64_t>(n);
        slice = slice.sub(static_cast<size_t>(n), slice.size() - static_cast<size_t>(n)).value();
    }
    return ok();
}

Status ImageFile::load(uint64_t offset, uint64_t size, const GuestMemory& memory, uint64_t address,
                       KernelLoading loading) const {
    if (!contains(offset, size)) return error(ErrorCode::kInvalid, "the file is truncated");
    if (!memory.slice(address, size)) return error(ErrorCode::kLimit, "it doesn't fit into RAM");
    uint64_t mapped = 0;
    if (loading == KernelLoading::kMapPrivate && offset % kPage == 0 && address % kPage == 0) {
        mapped = size - size % kPage;
        if (mapped != 0) {
            TRY(memory.map_private(address, mapped, fd_, offset));
        }
    }
    return read_into(offset + mapped, memory.slice(address + mapped, size - mapped).value());
}

}  // namespace drupe
