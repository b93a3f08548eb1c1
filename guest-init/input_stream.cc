#include "guest-init/input_stream.h"

#include <unistd.h>

#include <cerrno>
#include <utility>

namespace drupe::init {

using protocol::FrameSocket;

namespace {
constexpr uint64_t kAckEvery = protocol::kStreamWindow / 4;
}

InputStream::InputStream(EventLoop& loop, Fd sink, bool tty)
    : loop_(loop), sink_(std::move(sink)), tty_(tty), ring_(protocol::kStreamWindow) {}

void InputStream::attach(Fd connection, uint64_t offset) {
    connection_ = std::make_unique<FrameSocket>(
        loop_, std::move(connection),
        FrameSocket::Events{.consume = [this](std::string_view bytes) { return consume(bytes); },
                            .on_drained = {},
                            .on_closed = [this](bool) { connection_.reset(); }});
    const bool known = offset <= ring_.end();
    connection_->send(protocol::encode(
        protocol::StreamOpened{.error = known ? 0 : ERANGE, .offset = known ? ring_.end() : 0}));
    if (!known) return connection_.reset();
    acknowledged_ = 0;
    acknowledge();
}

std::optional<size_t> InputStream::consume(std::string_view bytes) {
    const protocol::ParsedStream frame = protocol::parse_stream_frame(bytes);
    if (frame.state == protocol::Parsed::State::kIncomplete) return 0;
    if (frame.state == protocol::Parsed::State::kBroken) return std::nullopt;
    switch (frame.kind) {
        case protocol::StreamKind::kData:
            if (eof_ || ring_.append(frame.data) < frame.data.size()) return std::nullopt;
            if (!sink_watch_) write_sink();
            return frame.size;
        case protocol::StreamKind::kEof: {
            eof_ = true;
            std::string answer;
            protocol::append_eof(answer);
            connection_->send(answer);
            if (!sink_watch_) write_sink();
            return frame.size;
        }
        case protocol::StreamKind::kAck:
            break;
    }
    return std::nullopt;
}

void InputStream::write_sink() {
    while (!ring_.empty() && sink_.valid()) {
        const std::string_view data = ring_.peek(ring_.begin(), protocol::kStreamWindow);
        const ssize_t n = ::write(sink_.get(), data.data(), data.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
            if (!sink_watch_)
                sink_watch_ = loop_.on_writable(sink_.get(), [this] { write_sink(); });
            return acknowledge();
        }
        if (n < 0) break;  // nobody reads any more
        ring_.drop_until(ring_.begin() + static_cast<uint64_t>(n));
    }
    sink_watch_.reset();
    if (!ring_.empty() || (eof_ && !tty_)) return drop_sink();
    acknowledge();
}

void InputStream::drop_sink() {
    sink_watch_.reset();
    sink_.reset();
    ring_.drop_until(ring_.end());
    acknowledge();
}

void InputStream::acknowledge() {
    const uint64_t written = ring_.begin();
    const bool worth_it = written - acknowledged_ >= kAckEvery || ring_.empty();
    if (!connection_ || written == acknowledged_ || !worth_it) return;
    std::string frame;
    protocol::append_ack(frame, written);
    acknowledged_ = written;
    connection_->send(frame);
}

}  // namespace drupe::init
