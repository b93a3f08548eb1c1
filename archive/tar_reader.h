#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "archive/tar_entry.h"
#include "archive/tar_header.h"
#include "base/result.h"

namespace drupe::archive {

/// Reads a tar from a descriptor, front to back: ustar, pax and GNU's long names and numbers. The
/// input may be anything: what it makes this hold is bounded (kMaxExtendedBytes), and the first
/// thing that isn't right is an error (kCorrupt; kUnsupported for sparse files and types that
/// nothing is known of).
class TarReader {
  public:
    static constexpr size_t kMaxExtendedBytes = 1 << 20;  ///< Of one entry's extended headers.
    static constexpr size_t kMaxPathBytes = 16 << 10;
    static constexpr size_t kMaxXattrs = 256;
    /// What may follow the end mark: tar fills its last record with zeros.
    static constexpr size_t kMaxTrailerBytes = 1 << 20;

    /// fd stays the caller's.
    explicit TarReader(int fd);

    /// The next entry; what is left of the last one's content is skipped. nullopt: the archive has
    /// ended, and so has the input.
    [[nodiscard]] Result<std::optional<Entry>> next();
    /// Some of the entry's content; 0 at its end.
    [[nodiscard]] Result<size_t> read(std::span<std::byte> out);

    /// What was taken from the input so far.
    [[nodiscard]] uint64_t bytes() const { return bytes_; }

  private:
    struct Extended;  // what extended headers say of the entry that follows

    [[nodiscard]] Result<size_t> take_some(std::span<std::byte> out);
    /// False: the input had ended before the first byte.
    [[nodiscard]] Result<bool> take(std::span<std::byte> out);
    [[nodiscard]] Status skip_content();
    [[nodiscard]] Result<std::string> take_text(uint64_t size);
    [[nodiscard]] Status take_extended(char type, uint64_t size, Extended& extended);
    [[nodiscard]] Status expect_end();

    int fd_;
    std::vector<std::byte> buffer_;
    size_t begin_ = 0;  // of what buffer_ holds
    size_t end_ = 0;
    uint64_t content_left_ = 0;
    uint64_t padding_ = 0;
    uint64_t bytes_ = 0;
    size_t extended_bytes_ = 0;
};

}  // namespace drupe::archive
