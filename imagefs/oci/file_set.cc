#include "imagefs/oci/file_set.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "imagefs/oci/archive_index.h"
#include "imagefs/oci/decompress.h"

namespace drupe::imagefs::oci {
namespace {

class Folder final : public FileSet {
  public:
    Folder(Fd folder, std::string path) : folder_(std::move(folder)), path_(std::move(path)) {}

    Result<ByteSourcePtr> open(std::string_view name) const override {
        TRY_ASSIGN(File file, open_member(name));
        return make_file_source(std::move(file.fd), 0, file.size);
    }
    bool contains(std::string_view name) const override { return open_member(name).has_value(); }
    Result<uint64_t> size_of(std::string_view name) const override {
        TRY_ASSIGN(const File file, open_member(name));
        return file.size;
    }

  private:
    struct File {
        Fd fd;
        uint64_t size = 0;
    };

    Result<File> open_member(std::string_view name) const {
        open_how how{};
        how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
        how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
        const std::string member(name);
        File file;
        file.fd.reset(static_cast<int>(
            syscall(SYS_openat2, folder_.get(), member.c_str(), &how, sizeof how)));
        if (!file.fd.valid()) {
            const int error = errno;
            Error failure = os_error(path_ + "/" + member, error);
            if (error == ENOENT) failure.code = ErrorCode::kNotFound;
            if (error == EXDEV || error == ELOOP) failure.code = ErrorCode::kDenied;
            return failure;
        }
        struct stat info {};
        if (fstat(file.fd.get(), &info) != 0) return os_error(path_ + "/" + member);
        if (!S_ISREG(info.st_mode)) {
            return Error{ErrorCode::kInvalid,
                         fmt::format("{}/{} is not a regular file", path_, member)};
        }
        file.size = static_cast<uint64_t>(info.st_size);
        return file;
    }

    Fd folder_;
    std::string path_;
};

class Archive final : public FileSet {
  public:
    Archive(Fd file, ArchiveIndex index) : file_(std::move(file)), index_(std::move(index)) {}

    Result<ByteSourcePtr> open(std::string_view name) const override {
        TRY_ASSIGN(const ArchiveIndex::Member member, index_.find(name));
        TRY_ASSIGN(Fd file, file_.duplicate());
        return make_file_source(std::move(file), member.offset, member.size);
    }
    bool contains(std::string_view name) const override { return index_.contains(name); }
    Result<uint64_t> size_of(std::string_view name) const override {
        TRY_ASSIGN(const ArchiveIndex::Member member, index_.find(name));
        return member.size;
    }

  private:
    Fd file_;
    ArchiveIndex index_;
};

/// The file itself if it isn't compressed, otherwise what is in it, in a file without a name.
Result<Fd> plain_file(Fd file, const std::string& scratch_folder) {
    struct stat info {};
    if (fstat(file.get(), &info) != 0) return os_error("look at the archive");
    if (!S_ISREG(info.st_mode)) return Error{ErrorCode::kInvalid, "not a regular file"};
    const auto size = static_cast<uint64_t>(info.st_size);
    std::vector<std::byte> magic(std::min<uint64_t>(size, kArchiveMagicBytes));
    TRY(read_exact(file.get(), magic, 0));
    if (!is_compressed_archive(magic)) return file;

    TRY_ASSIGN(Fd scratch, open_file(scratch_folder, O_TMPFILE | O_RDWR, 0600));
    TRY_ASSIGN(Fd input, file.duplicate());
    const ByteSourcePtr compressed = make_file_source(std::move(input), 0, size);
    TRY_ASSIGN(const Decompressor plain, make_archive_decompressor(*compressed));
    const uint64_t limit = ExpansionLimit{}.max_bytes(size);
    std::vector<std::byte> buffer(1 << 20);
    uint64_t written = 0;
    while (true) {
        TRY_ASSIGN(const size_t got, plain.source->read(buffer));
        if (got == 0) return scratch;
        if (got > limit - written) {
            return Error{ErrorCode::kLimit,
                         fmt::format("the archive expands to more than {} bytes", limit)};
        }
        TRY(write_exact(scratch.get(), std::span(buffer).first(got), written));
        written += got;
    }
}

}  // namespace

Result<std::unique_ptr<FileSet>> open_folder(const std::string& path) {
    TRY_ASSIGN(Fd folder, open_file(path, O_RDONLY | O_DIRECTORY));
    return std::unique_ptr<FileSet>(std::make_unique<Folder>(std::move(folder), path));
}

Result<std::unique_ptr<FileSet>> open_archive(const std::string& path,
                                              const std::string& scratch_folder) {
    TRY_ASSIGN(Fd opened, open_file(path, O_RDONLY | O_NONBLOCK));
    auto file = plain_file(std::move(opened), scratch_folder);
    if (!file) return std::move(file).error().wrap(path);
    auto index = ArchiveIndex::build(file.value().get());
    if (!index) return std::move(index).error().wrap(path);
    return std::unique_ptr<FileSet>(
        std::make_unique<Archive>(std::move(file).value(), std::move(index).value()));
}

}  // namespace drupe::imagefs::oci
