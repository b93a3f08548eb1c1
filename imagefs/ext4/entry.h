#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace drupe::imagefs::ext4 {

struct Xattr {
    std::string name;   ///< With its namespace: "user.x", "security.capability".
    std::string value;  ///< Any bytes, in the kernel's own (system call) format.
    friend bool operator==(const Xattr&, const Xattr&) = default;
};

enum class EntryType : uint8_t {
    kFile,
    kDirectory,
    kSymlink,
    kHardlink,
    kCharDevice,
    kBlockDevice,
    kFifo,
};

/// One member of a layer, as an archive names it. Nothing in it is trusted.
struct Entry {
    std::string path{};  ///< As written: may be absolute, hold "..", or name a whiteout.
    EntryType type = EntryType::kFile;
    uint32_t mode = 0;  ///< Permission bits, setuid, setgid and sticky (07777).
    uint32_t uid = 0;
    uint32_t gid = 0;
    int64_t mtime = 0;
    uint32_t mtime_ns = 0;
    uint64_t size = 0;  ///< kFile only.
    uint32_t device_major = 0;
    uint32_t device_minor = 0;
    std::string target{};  ///< kSymlink: what it says; kHardlink: a path inside the image.
    std::vector<Xattr> xattrs{};
};

/// A piece of a file's content; what lies between pieces is zero (sparse). Empty data: the end.
struct ContentPiece {
    uint64_t offset = 0;
    std::span<const std::byte> data;
};

/// Gives a file's content piece by piece, in ascending order without overlap. The data stays valid
/// until the next call.
class ContentReader {
  public:
    virtual ~ContentReader() = default;
    [[nodiscard]] virtual Result<ContentPiece> next() = 0;
};

/// What one layer may hold. Going beyond is kLimit and names the entry.
struct ApplyLimits {
    uint64_t max_entries = 2'000'000;
    uint64_t max_content_bytes = uint64_t{48} << 30;
    uint32_t max_path_bytes = 4096;
    uint32_t max_depth = 1024;
    uint32_t max_deferred_links = 65536;
    uint32_t max_xattrs = 128;
    uint32_t max_xattr_bytes = 64 * 1024;  ///< Of one entry; ext4 holds about 4000.
};

struct ApplyStats {
    uint64_t entries = 0;
    uint64_t files = 0;
    uint64_t directories = 0;
    uint64_t symlinks = 0;
    uint64_t hardlinks = 0;
    uint64_t devices = 0;
    uint64_t whiteouts = 0;
    uint64_t ignored = 0;  ///< Sockets and members that aren't files.
    uint64_t content_bytes = 0;
    uint64_t rewritten_in_place = 0;
};

}  // namespace drupe::imagefs::ext4
