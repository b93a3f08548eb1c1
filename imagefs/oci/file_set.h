#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "imagefs/oci/byte_sources.h"

namespace drupe::imagefs::oci {

/// Files by name: a folder, or the members of a tar archive. What's in them is not trusted; how
/// much is read is limited by the caller.
class FileSet {
  public:
    virtual ~FileSet() = default;
    /// name: relative, "blobs/sha256/HEX". kNotFound; only regular files are opened.
    [[nodiscard]] virtual Result<ByteSourcePtr> open(std::string_view name) const = 0;
    [[nodiscard]] virtual bool contains(std::string_view name) const = 0;
    [[nodiscard]] virtual Result<uint64_t> size_of(std::string_view name) const = 0;
};

/// A folder with no links out of it followed ("..", symlinks to elsewhere: kDenied).
[[nodiscard]] Result<std::unique_ptr<FileSet>> open_folder(const std::string& path);

/// A tar file. If it is compressed as a whole (gzip or zstd), it is first decompressed into a
/// file without a name in scratch_folder.
[[nodiscard]] Result<std::unique_ptr<FileSet>> open_archive(const std::string& path,
                                                            const std::string& scratch_folder);

}  // namespace drupe::imagefs::oci
