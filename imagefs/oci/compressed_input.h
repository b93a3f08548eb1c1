#pragma once

#include <cstring>
#include <span>
#include <vector>

#include "imagefs/oci/byte_sources.h"

namespace drupe::imagefs::oci {

/// The compressed side: a buffer that is refilled when empty.
class CompressedInput {
  public:
    explicit CompressedInput(ByteSource& source) : source_(source), buffer_(kBytes) {}

    /// Makes at least `bytes` available, or as many as there are.
    Status fill(size_t bytes) {
        if (end_ - begin_ >= bytes || at_end_) return ok();
        std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
        end_ -= begin_;
        begin_ = 0;
        while (end_ < bytes && !at_end_) {
            TRY_ASSIGN(const size_t got, source_.read(std::span(buffer_).subspan(end_)));
            end_ += got;
            at_end_ = got == 0;
        }
        return ok();
    }
    [[nodiscard]] std::span<std::byte> available() {
        return std::span(buffer_).subspan(begin_, end_ - begin_);
    }
    void consume(size_t bytes) { begin_ += bytes; }

  private:
    static constexpr size_t kBytes = 256 * 1024;
    ByteSource& source_;
    std::vector<std::byte> buffer_;
    size_t begin_ = 0;
    size_t end_ = 0;
    bool at_end_ = false;
};

}  // namespace drupe::imagefs::oci
