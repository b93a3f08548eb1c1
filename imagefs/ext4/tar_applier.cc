#include "imagefs/ext4/tar_applier.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/core.h>
#include <locale.h>

#include <memory>
#include <optional>
#include <vector>

#include "imagefs/ext4/format.h"
#include "imagefs/ext4/layer_applier.h"

namespace drupe::imagefs::ext4 {
namespace {

constexpr size_t kInputBytes = 256 * 1024;
/// Headers between two files' contents (long names, attributes, sparse maps). libarchive keeps what
/// they describe in memory, so this bounds that, too.
constexpr uint64_t kMaxHeaderBytes = 8 << 20;

/// The archive's input: hands libarchive blocks of the source and keeps the source's own error.
class Input {
  public:
    explicit Input(ByteSource& source) : source_(source), buffer_(kInputBytes) {}

    static la_ssize_t read(archive* handle, void* data, const void** out) {
        auto& self = *static_cast<Input*>(data);
        *out = self.buffer_.data();
        const Result<size_t> got = self.pull();
        if (!got) {
            self.error_ = got.error();
            archive_set_error(handle, EIO, "%s", got.error().message.c_str());
            return ARCHIVE_FATAL;
        }
        return static_cast<la_ssize_t>(got.value());
    }

    void start_header() { header_budget_ = kMaxHeaderBytes; }
    void start_content() { header_budget_ = ~uint64_t{0}; }
    [[nodiscard]] const std::optional<Error>& error() const { return error_; }

    /// What follows the archive's end: only padding, but part of the layer's digest.
    Status drain() {
        start_content();
        while (true) {
            TRY_ASSIGN(const size_t got, pull());
            if (got == 0) return ok();
        }
    }

  private:
    Result<size_t> pull() {
        if (header_budget_ == 0) {
            return Error{ErrorCode::kLimit, "the headers of one entry are larger than 8 MiB"};
        }
        TRY_ASSIGN(const size_t got, source_.read(buffer_));
        header_budget_ -= std::min<uint64_t>(header_budget_, got);
        return got;
    }

    ByteSource& source_;
    std::vector<std::byte> buffer_;
    uint64_t header_budget_ = kMaxHeaderBytes;
    std::optional<Error> error_;
};

/// Names are bytes here, but libarchive converts PAX names from UTF-8 to the thread's locale, and
/// in a UTF-8 locale normalizes them on the way. In the C locale the conversion of what isn't ASCII
/// fails, and it then gives the bytes as they are.
class CLocale {
  public:
    CLocale() : c_(newlocale(LC_ALL_MASK, "C", nullptr)), old_(uselocale(c_)) {}
    ~CLocale() {
        uselocale(old_);
        freelocale(c_);
    }
    CLocale(const CLocale&) = delete;
    CLocale& operator=(const CLocale&) = delete;

  private:
    locale_t c_;
    locale_t old_;
};

struct FreeArchive {
    void operator()(archive* handle) const { archive_read_free(handle); }
};
using ArchivePtr = std::unique_ptr<archive, FreeArchive>;

Error archive_error(archive* handle, const Input& input, std::string_view what) {
    if (input.error()) return *input.error();
    const char* text = archive_error_string(handle);
    return Error{ErrorCode::kInvalid,
                 fmt::format("{}: {}", what, text != nullptr ? text : "malformed tar")};
}

class TarContent final : public ContentReader {
  public:
    TarContent(archive* handle, const Input& input) : handle_(handle), input_(input) {}

    Result<ContentPiece> next() override {
        while (true) {
            const void* data = nullptr;
            size_t size = 0;
            la_int64_t offset = 0;
            const int code = archive_read_data_block(handle_, &data, &size, &offset);
            if (code == ARCHIVE_EOF) return ContentPiece{};
            if (code != ARCHIVE_OK && code != ARCHIVE_WARN) {
                return archive_error(handle_, input_, "read its content");
            }
            if (offset < 0) return Error{ErrorCode::kInvalid, "a negative offset in its content"};
            if (size > 0) {
                return ContentPiece{static_cast<uint64_t>(offset),
                                    {static_cast<const std::byte*>(data), size}};
            }
        }
    }

  private:
    archive* handle_;
    const Input& input_;
};

Result<uint32_t> checked_id(la_int64_t id, std::string_view what) {
    if (id < 0 || id >= 0xffffffffLL) {
        return Error{ErrorCode::kInvalid, fmt::format("its {} {} is out of range", what, id)};
    }
    return static_cast<uint32_t>(id);
}

/// Nothing for what isn't a file.
Result<std::optional<EntryType>> type_of(archive_entry* raw) {
    if (archive_entry_hardlink(raw) != nullptr) return std::optional(EntryType::kHardlink);
    switch (archive_entry_filetype(raw)) {
        case AE_IFREG:
            return std::optional(EntryType::kFile);
        case AE_IFDIR:
            return std::optional(EntryType::kDirectory);
        case AE_IFLNK:
            return std::optional(EntryType::kSymlink);
        case AE_IFCHR:
            return std::optional(EntryType::kCharDevice);
        case AE_IFBLK:
            return std::optional(EntryType::kBlockDevice);
        case AE_IFIFO:
            return std::optional(EntryType::kFifo);
        default:
            return std::optional<EntryType>();
    }
}

Status read_metadata(archive_entry* raw, Entry& entry) {
    TRY_ASSIGN(entry.uid, checked_id(archive_entry_uid(raw), "owner"));
    TRY_ASSIGN(entry.gid, checked_id(archive_entry_gid(raw), "group"));
    entry.mode = static_cast<uint32_t>(archive_entry_perm(raw)) & 07777;
    entry.mtime = kFormatTime;
    if (archive_entry_mtime_is_set(raw) != 0) {
        entry.mtime = archive_entry_mtime(raw);
        entry.mtime_ns = static_cast<uint32_t>(archive_entry_mtime_nsec(raw));
    }
    if (entry.type == EntryType::kFile) {
        const la_int64_t size = archive_entry_size(raw);
        if (size < 0) return Error{ErrorCode::kInvalid, "its size is negative"};
        entry.size = static_cast<uint64_t>(size);
    }
    if (entry.type == EntryType::kCharDevice || entry.type == EntryType::kBlockDevice) {
        const uint64_t major = archive_entry_rdevmajor(raw);
        const uint64_t minor = archive_entry_rdevminor(raw);
        if (major > UINT32_MAX || minor > UINT32_MAX) {
            return Error{ErrorCode::kInvalid, "its device number is out of range"};
        }
        entry.device_major = static_cast<uint32_t>(major);
        entry.device_minor = static_cast<uint32_t>(minor);
    }
    const char* target = entry.type == EntryType::kHardlink  ? archive_entry_hardlink(raw)
                         : entry.type == EntryType::kSymlink ? archive_entry_symlink(raw)
                                                             : nullptr;
    if (target != nullptr) entry.target = target;

    archive_entry_xattr_reset(raw);
    const char* name = nullptr;
    const void* value = nullptr;
    size_t size = 0;
    while (archive_entry_xattr_next(raw, &name, &value, &size) == ARCHIVE_OK) {
        entry.xattrs.push_back({name, std::string(static_cast<const char*>(value), size)});
    }
    return ok();
}

Result<ArchivePtr> open_archive(Input& input) {
    ArchivePtr handle(archive_read_new());
    if (!handle) return Error{ErrorCode::kInternal, "out of memory"};
    if (archive_read_support_format_tar(handle.get()) != ARCHIVE_OK ||
        archive_read_support_format_empty(handle.get()) != ARCHIVE_OK ||
        archive_read_open2(handle.get(), &input, nullptr, Input::read, nullptr, nullptr) !=
            ARCHIVE_OK) {
        return archive_error(handle.get(), input, "open the layer's tar");
    }
    return handle;
}

Status apply_entry(archive* handle, archive_entry* raw, const Input& input, LayerApplier& applier,
                   uint64_t& ignored) {
    const char* path = archive_entry_pathname(raw);
    if (path == nullptr) return Error{ErrorCode::kInvalid, "a tar entry without a name"};
    Entry entry;
    entry.path = path;
    TRY_ASSIGN(const std::optional<EntryType> type, type_of(raw));
    if (!type) {
        ++ignored;
        return ok();
    }
    entry.type = *type;
    const Status metadata = read_metadata(raw, entry);
    if (!metadata) {
        return Error(metadata.error()).wrap("layer entry " + printable_path(entry.path));
    }
    TarContent content(handle, input);
    return applier.apply(entry, content);
}

}  // namespace

Result<ApplyStats> apply_tar(BlockDevice& device, ByteSource& tar, const ApplyLimits& limits) {
    const CLocale names_are_bytes;
    TRY_ASSIGN(LayerApplier applier, LayerApplier::open(device, limits));
    Input input(tar);
    TRY_ASSIGN(const ArchivePtr handle, open_archive(input));
    uint64_t ignored = 0;
    while (true) {
        input.start_header();
        archive_entry* raw = nullptr;
        const int code = archive_read_next_header(handle.get(), &raw);
        if (code == ARCHIVE_EOF) break;
        if (code != ARCHIVE_OK && code != ARCHIVE_WARN) {
            return archive_error(handle.get(), input, "read the layer's tar");
        }
        input.start_content();
        TRY(apply_entry(handle.get(), raw, input, applier, ignored));
        if (archive_read_data_skip(handle.get()) < ARCHIVE_WARN) {
            return archive_error(handle.get(), input, "read the layer's tar");
        }
    }
    TRY(input.drain());
    TRY_ASSIGN(ApplyStats stats, applier.finish());
    stats.ignored += ignored;
    return stats;
}

}  // namespace drupe::imagefs::ext4
