#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "archive/tar_entry.h"
#include "base/result.h"

namespace drupe::archive {

/// Writes a tar (POSIX.1-2001, "pax") to a descriptor, front to back, with a small buffer of its
/// own. What a classic header can't hold (long names, large sizes and ids, parts of a second,
/// extended attributes) goes into an extended one before it. Errors: kIo, with write(2)'s errno.
class TarWriter {
  public:
    /// fd stays the caller's.
    explicit TarWriter(int fd) : fd_(fd) {}

    /// Begins an entry; a file's content follows by write(), exactly entry.size bytes of it.
    [[nodiscard]] Status add(const Entry& entry);
    [[nodiscard]] Status write(std::span<const std::byte> content);
    /// The end mark. Nothing can be added any more.
    [[nodiscard]] Status finish();

    /// What was written so far, headers and padding included.
    [[nodiscard]] uint64_t bytes() const { return bytes_; }

  private:
    [[nodiscard]] Status put(std::string_view bytes);
    [[nodiscard]] Status pad();
    [[nodiscard]] Status flush();

    int fd_;
    std::string buffer_;
    uint64_t bytes_ = 0;
};

}  // namespace drupe::archive
