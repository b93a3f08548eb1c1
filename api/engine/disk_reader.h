#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "imagefs/ext4/byte_source.h"
#include "imagefs/store/layered_disk.h"

namespace drupe::engine {

/// The host user of helpers that read disks; behind those of the monitors.
inline constexpr uint32_t kReaderUid = 265'536;

/// What guests left on disks, found out by drupe-export: a process in a jail (monitor/confine) with
/// the disks' files to read, a pipe to write to, and nothing else. What comes from it is hostile.
class DiskReader {
  public:
    /// program: drupe-export's path; empty: it wasn't found, and everything is kNotFound.
    explicit DiskReader(std::string program) : program_(std::move(program)) {}

    /// How the files on `after` differ from those on `before` (which has no top), as an OCI layer
    /// tar. Locks that come with the files are held until the source is destroyed, which ends the
    /// helper. The end of the source is the end of the tar: a helper that failed is an error.
    [[nodiscard]] Result<std::unique_ptr<imagefs::ByteSource>> layer_tar(
        imagefs::DiskFiles before, imagefs::DiskFiles after) const;

    /// The same as `docker diff` says it: 'A', 'C' or 'D', and a path.
    [[nodiscard]] Status diff(
        imagefs::DiskFiles before, imagefs::DiskFiles after,
        const std::function<Status(char kind, std::string_view path)>& visit) const;

  private:
    std::string program_;
};

}  // namespace drupe::engine
