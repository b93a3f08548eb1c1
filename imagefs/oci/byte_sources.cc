#include "imagefs/oci/byte_sources.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace drupe::imagefs::oci {
namespace {

class FileSource final : public ByteSource {
  public:
    FileSource(Fd file, uint64_t offset, uint64_t size)
        : file_(std::move(file)), offset_(offset), left_(size) {}

    Result<size_t> read(std::span<std::byte> out) override {
        const size_t wanted = std::min<uint64_t>(out.size(), left_);
        if (wanted == 0) return size_t{0};
        ssize_t got = 0;
        do {
            got = pread(file_.get(), out.data(), wanted, static_cast<off_t>(offset_));
        } while (got < 0 && errno == EINTR);
        if (got < 0) return os_error("read an image's file");
        if (got == 0) return Error{ErrorCode::kCorrupt, "an image's file ends too early"};
        offset_ += static_cast<uint64_t>(got);
        left_ -= static_cast<uint64_t>(got);
        return static_cast<size_t>(got);
    }

  private:
    Fd file_;
    uint64_t offset_;
    uint64_t left_;
};

class MemorySource final : public ByteSource {
  public:
    explicit MemorySource(std::string bytes) : bytes_(std::move(bytes)) {}
    Result<size_t> read(std::span<std::byte> out) override {
        const size_t count = std::min(out.size(), bytes_.size() - at_);
        std::memcpy(out.data(), bytes_.data() + at_, count);
        at_ += count;
        return count;
    }

  private:
    std::string bytes_;
    size_t at_ = 0;
};

}  // namespace

ByteSourcePtr make_file_source(Fd file, uint64_t offset, uint64_t size) {
    return std::make_unique<FileSource>(std::move(file), offset, size);
}

ByteSourcePtr make_memory_source(std::string bytes) {
    return std::make_unique<MemorySource>(std::move(bytes));
}

Result<size_t> HashingSource::read(std::span<std::byte> out) {
    TRY_ASSIGN(const size_t got, inner_.read(out));
    if (got > max_bytes_ - bytes_) {
        return Error{ErrorCode::kLimit,
                     fmt::format("{} has more than {} bytes", what_, max_bytes_)};
    }
    if (hashes_ == Hash::kYes) hash_.update(out.first(got));
    bytes_ += got;
    return got;
}

Result<std::string> read_all(ByteSource& source, size_t max_bytes, std::string_view what) {
    std::string all;
    std::string buffer(64 * 1024, '\0');
    while (true) {
        TRY_ASSIGN(const size_t got, source.read(std::as_writable_bytes(std::span(buffer))));
        if (got == 0) return all;
        if (got > max_bytes - all.size()) {
            return Error{ErrorCode::kLimit,
                         fmt::format("{} has more than {} bytes", what, max_bytes)};
        }
        all.append(buffer, 0, got);
    }
}

}  // namespace drupe::imagefs::oci
