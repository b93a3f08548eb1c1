// Decoding of everything that crosses the boundary, in both directions. What decodes must encode to
// the bytes that it came from: there is one spelling of every value.

#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "guest-init/protocol.h"

namespace drupe::protocol {
namespace {

template <class T>
void round_trip(std::string_view bytes) {
    if (const auto value = decode<T>(bytes)) DRUPE_CHECK(encode(*value) == bytes);
}

template <class... Ts>
void round_trips(std::string_view bytes) {
    (round_trip<Ts>(bytes), ...);
}

}  // namespace
}  // namespace drupe::protocol

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace drupe::protocol;
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    round_trips<FrameHeader, StreamOpen, StreamOpened, StreamFrame, Hello, Welcome, Answer, Root,
                Identity, Start, Signal, Resize, Shutdown, Forget, Exited, PathStat, BuiltinError,
                Freeze, Thaw, Limits, Suspend, Prepare, ProcessList, Usage>(bytes);
    const Parsed frame = parse_frame(bytes, kMaxOrderBytes);
    if (frame.state == Parsed::State::kFrame)
        DRUPE_CHECK(frame.size == kFrameHeaderBytes + frame.payload.size() && frame.size <= size);
    const ParsedStream stream = parse_stream_frame(bytes);
    if (stream.state == Parsed::State::kFrame) DRUPE_CHECK(stream.size <= size);
    return 0;
}
