#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "imagefs/ext4/block_device.h"
#include "imagefs/ext4/entry.h"

namespace drupe::imagefs::ext4 {

/// Looks into a file system that our own formatter and importer made. Not for disks that a guest
/// has written to: libext2fs is no match for a hostile file system.
class ImageReader {
  public:
    struct Info {
        Entry entry;  ///< path is empty; kHardlink doesn't occur.
        uint32_t inode = 0;
        uint32_t links = 0;
    };

    [[nodiscard]] static Result<ImageReader> open(BlockDevice& device);
    ImageReader(ImageReader&&) noexcept;
    ImageReader& operator=(ImageReader&&) noexcept;
    ~ImageReader();

    /// Symlinks on the way are followed inside the image, the last component isn't. kNotFound.
    [[nodiscard]] Result<Info> stat(std::string_view path);
    /// The content of a regular file; kLimit if it has more than max_bytes.
    [[nodiscard]] Result<std::string> read_file(std::string_view path, size_t max_bytes);
    /// The names in a directory, sorted, without "." and "..".
    [[nodiscard]] Result<std::vector<std::string>> list(std::string_view path);

  private:
    class State;
    explicit ImageReader(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace drupe::imagefs::ext4
