#include "api/client/frames.h"

#include <algorithm>

namespace drupe::client {
namespace {

constexpr uint8_t kSystemError = 3;
constexpr size_t kMaxSaid = 4096;

}  // namespace

Status FrameDecoder::begin_frame() {
    const auto byte = [this](size_t i) {
        return static_cast<uint32_t>(static_cast<uint8_t>(header_[i]));
    };
    if (byte(0) < 1 || byte(0) > kSystemError || byte(1) != 0 || byte(2) != 0 || byte(3) != 0) {
        return Error{ErrorCode::kCorrupt, "the daemon's stream isn't made of frames"};
    }
    stream_ = static_cast<uint8_t>(byte(0));
    left_ = byte(4) << 24 | byte(5) << 16 | byte(6) << 8 | byte(7);
    header_have_ = 0;
    return ok();
}

Status FrameDecoder::push(std::string_view bytes) {
    while (!bytes.empty()) {
        if (left_ == 0) {
            const size_t take = std::min(bytes.size(), kHeaderBytes - header_have_);
            bytes.copy(header_.data() + header_have_, take);
            bytes.remove_prefix(take);
            header_have_ += take;
            if (header_have_ == kHeaderBytes) {
                TRY(begin_frame());
            }
            continue;
        }
        const std::string_view piece = bytes.substr(0, left_);
        bytes.remove_prefix(piece.size());
        left_ -= static_cast<uint32_t>(piece.size());
        if (stream_ != kSystemError) {
            TRY(sink_(static_cast<Stream>(stream_), piece));
            continue;
        }
        said_.append(piece.substr(0, kMaxSaid - std::min(kMaxSaid, said_.size())));
        if (left_ == 0) return Error{ErrorCode::kIo, "the daemon's stream: " + said_};
    }
    return ok();
}

Status FrameDecoder::finish() const {
    if (left_ == 0 && header_have_ == 0) return ok();
    return Error{ErrorCode::kCorrupt, "the daemon's stream ended within a frame"};
}

}  // namespace drupe::client
