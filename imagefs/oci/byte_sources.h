#pragma once

#include <memory>
#include <string>

#include "base/fd.h"
#include "imagefs/ext4/byte_source.h"
#include "imagefs/store/digest.h"
#include "imagefs/store/sha256.h"

namespace drupe::imagefs::oci {

using ByteSourcePtr = std::unique_ptr<ByteSource>;

/// A range of a file. The end of the file before the range's end is kCorrupt.
[[nodiscard]] ByteSourcePtr make_file_source(Fd file, uint64_t offset, uint64_t size);
[[nodiscard]] ByteSourcePtr make_memory_source(std::string bytes);

/// Passes on what it reads while counting and, unless told otherwise, hashing it.
class HashingSource final : public ByteSource {
  public:
    enum class Hash { kYes, kNo };
    /// Refuses to go on after max_bytes (kLimit; `what` names the stream).
    HashingSource(ByteSource& inner, uint64_t max_bytes, std::string what, Hash hash = Hash::kYes)
        : inner_(inner), max_bytes_(max_bytes), what_(std::move(what)), hashes_(hash) {}

    [[nodiscard]] Result<size_t> read(std::span<std::byte> out) override;
    [[nodiscard]] uint64_t bytes() const { return bytes_; }
    /// Of everything read so far; once.
    [[nodiscard]] Digest finish() { return hash_.finish(); }

  private:
    ByteSource& inner_;
    Sha256 hash_;
    uint64_t bytes_ = 0;
    uint64_t max_bytes_;
    std::string what_;
    Hash hashes_;
};

/// All of a source, which may hold at most max_bytes (kLimit).
[[nodiscard]] Result<std::string> read_all(ByteSource& source, size_t max_bytes,
                                           std::string_view what);

/// Reads a source on a thread of its own, a few blocks ahead, so that decompressing and writing
/// overlap. inner must outlive it and is left alone by everybody else; the destructor stops and
/// joins the thread.
[[nodiscard]] ByteSourcePtr make_read_ahead(ByteSource& inner);

}  // namespace drupe::imagefs::oci
