#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"

namespace drupe::archive {

struct UnpackOptions {
    /// The archive's owners; else all is uid's and gid's.
    bool keep_owner = false;
    uid_t uid = 0;
    gid_t gid = 0;
    /// A directory doesn't replace another kind of file, nor the other way round (EEXIST). Without,
    /// what is in the way is removed.
    bool no_overwrite_dir_non_dir = true;
    /// The first component of every name is replaced by this.
    std::optional<std::string> rename_top;
    /// Whoever made the archive may do all that this process's root lets be done. Else nothing that
    /// could reach or harm what is outside the folder or has more rights than its reader: links in
    /// the way are errors, devices aren't made, setuid and setgid bits are dropped, attributes are
    /// the user's own, and the folder itself stays as it is.
    bool trusted = false;
};

struct Unpacked {
    uint64_t bytes = 0;    ///< Of the archive.
    uint64_t skipped = 0;  ///< Devices that weren't made.
};

/// Reads a tar from `fd` and makes its files below the open folder. Whatever the archive says,
/// nothing outside is written to: names with ".." are refused, and each component is opened by
/// itself. An existing file is replaced, never written into. Stops at the first error; what was
/// made by then stays.
[[nodiscard]] Result<Unpacked> unpack(int fd, int folder, const UnpackOptions& options);

}  // namespace drupe::archive
