#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "imagefs/ext4/byte_source.h"
#include "imagefs/ext4/entry.h"

namespace drupe::imagefs {

/// Writes entries as a PAX tar into a string that is emptied as it goes. The same bytes for the
/// same entries, whatever libraries there are: digests are made of them. One thread.
class TarWriter {
  public:
    /// A file's content follows by content(), entry.size bytes in all. kUnsupported: an extended
    /// attribute whose name PAX can't hold.
    [[nodiscard]] Status header(const ext4::Entry& entry);
    [[nodiscard]] Status content(std::string_view bytes);
    [[nodiscard]] Status finish();
    /// What has been written and not taken yet.
    [[nodiscard]] std::string take() { return std::exchange(output_, {}); }

  private:
    /// kInternal if a file's content isn't complete; else pads it.
    [[nodiscard]] Status end_content();

    std::string output_;
    uint64_t left_ = 0;     ///< Of the file's content.
    uint64_t padding_ = 0;  ///< Behind it.
};

/// A folder as a layer tar, read as it is consumed: sorted, with owners, times, extended
/// attributes, hard links and devices; sockets are left out. No symlink is followed; other mounts
/// below it are included. A file that changes meanwhile is an error (kConflict).
[[nodiscard]] Result<std::unique_ptr<ByteSource>> open_folder_tar(const std::string& path);

}  // namespace drupe::imagefs
