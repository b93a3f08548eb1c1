#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace drupe::client {

/// Takes apart what attach, exec and logs send of a container without a terminal: frames of eight
/// bytes {stream, 0, 0, 0, length as a big-endian uint32} and their payload. Payloads are passed on
/// as they come, in pieces; no more than a header is ever kept.
class FrameDecoder {
  public:
    enum class Stream : uint8_t { kStdout = 1, kStderr = 2 };
    using Sink = std::function<Status(Stream stream, std::string_view bytes)>;

    explicit FrameDecoder(Sink sink) : sink_(std::move(sink)) {}

    /// The sink's error; kCorrupt if these aren't frames; kIo with the text of a frame by which the
    /// daemon says what failed (stream 3).
    [[nodiscard]] Status push(std::string_view bytes);
    /// Says, at the end of the bytes, whether they ended with a frame's end: kCorrupt or kIo.
    [[nodiscard]] Status finish() const;

  private:
    [[nodiscard]] Status begin_frame();

    static constexpr size_t kHeaderBytes = 8;
    Sink sink_;
    std::array<char, kHeaderBytes> header_{};
    size_t header_have_ = 0;
    uint8_t stream_ = 0;
    uint32_t left_ = 0;
    std::string said_;  ///< Of a frame of stream 3, bounded.
};

}  // namespace drupe::client
