#include "guest-init/output_stream.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

namespace drupe::init {

using protocol::FrameSocket;

namespace {
/// How long a tty's last output may take through the kernel's line discipline when an orphan keeps
/// the tty open, so that no end of file comes.
constexpr std::chrono::milliseconds kTtyGrace{100};
/// And how much of that is taken from an orphan that never stops.
constexpr size_t kTtyLastBytes = 64 << 10;
/// Frames queued in user space at most: enough to keep the socket busy.
constexpr size_t kMaxUnsent = 2 * protocol::kMaxStreamData;
}  // namespace

OutputStream::OutputStream(EventLoop& loop, Fd source, bool tty)
    : loop_(loop), source_(std::move(source)), tty_(tty), ring_(protocol::kStreamWindow) {
    watch_source();
}

void OutputStream::watch_source() {
    if (ended_ || ring_.room() == 0) return;
    if (!source_watch_) source_watch_ = loop_.on_readable(source_.get(), [this] { read_source(); });
    if (last_call_) read_source();
}

void OutputStream::read_source() {
    do {
        std::span<char> space = ring_.writable();
        if (space.empty()) break;
        if (left_) space = space.first(std::min(space.size(), *left_));
        const ssize_t n = ::read(source_.get(), space.data(), space.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN && !last_call_) break;
        if (n <= 0) return finish();  // a tty without any opener left fails with EIO
        ring_.commit(static_cast<size_t>(n));
        if (left_ && (*left_ -= static_cast<size_t>(n)) == 0) return finish();
    } while (last_call_);
    if (ring_.room() == 0) source_watch_.reset();
    send_more();
}

void OutputStream::process_exited() {
    if (ended_) return;
    if (tty_) {
        grace_ = loop_.after(kTtyGrace, [this] {
            last_call_ = true;
            left_ = kTtyLastBytes;
            watch_source();
        });
        return;
    }
    int bytes = 0;
    if (::ioctl(source_.get(), FIONREAD, &bytes) < 0 || bytes <= 0) return finish();
    left_ = static_cast<size_t>(bytes);
}

void OutputStream::finish() {
    ended_ = true;
    grace_.reset();
    source_watch_.reset();
    source_.reset();
    send_more();
}

void OutputStream::attach(Fd connection, uint64_t offset) {
    const bool known = offset >= ring_.begin() && offset <= ring_.end();
    connection_ = std::make_unique<FrameSocket>(
        loop_, std::move(connection),
        FrameSocket::Events{.consume = [this](std::string_view bytes) { return consume(bytes); },
                            .on_drained = [this] { send_more(); },
                            .on_closed = [this](bool) { connection_.reset(); }});
    if (!known) {
        connection_->send(protocol::encode(protocol::StreamOpened{.error = ERANGE, .offset = 0}));
        connection_.reset();
        return;
    }
    ring_.drop_until(offset);
    sent_ = offset;
    eof_sent_ = false;
    connection_->send(protocol::encode(protocol::StreamOpened{.error = 0, .offset = offset}));
    watch_source();
    send_more();
}

void OutputStream::send_more() {
    if (!connection_) return;
    while (connection_->unsent_bytes() < kMaxUnsent && sent_ < ring_.end()) {
        const std::string_view data = ring_.peek(sent_, protocol::kMaxStreamData);
        std::string frame;
        frame.reserve(protocol::kStreamFrameBytes + data.size());
        protocol::append_data(frame, data);
        sent_ += data.size();
        connection_->send(frame);
    }
    if (!ended_ || eof_sent_ || sent_ < ring_.end()) return;
    std::string frame;
    protocol::append_eof(frame);
    eof_sent_ = true;
    connection_->send(frame);
}

std::optional<size_t> OutputStream::consume(std::string_view bytes) {
    const protocol::ParsedStream frame = protocol::parse_stream_frame(bytes);
    if (frame.state == protocol::Parsed::State::kIncomplete) return 0;
    if (frame.state == protocol::Parsed::State::kBroken || frame.kind != protocol::StreamKind::kAck)
        return std::nullopt;
    if (frame.ack_offset < ring_.begin() || frame.ack_offset > sent_) return std::nullopt;
    ring_.drop_until(frame.ack_offset);
    watch_source();
    return frame.size;
}

}  // namespace drupe::init
