#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace drupe::archive {

/// Writes the file or folder at `path` to `fd` as a tar, in which it is called `name` and what is
/// in it "NAME/...". A last component that is a symbolic link is written as one, unless the path
/// ends with "/" or "/.". Other file systems that are mounted below (/proc, /sys, /dev) are left
/// out, and so are sockets. Files are opened without following links, and never waited for.
///
/// Memory is bounded but for one record a file that has several names. Returns the tar's size.
/// Errors have the errno of what couldn't be read or written.
[[nodiscard]] Result<uint64_t> pack(const std::string& path, const std::string& name, int fd);

}  // namespace drupe::archive
