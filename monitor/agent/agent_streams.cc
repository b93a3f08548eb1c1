#include "monitor/agent/agent_streams.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/check.h"
#include "guest-init/byte_ring.h"

namespace drupe::agent {
namespace {

using protocol::kStreamWindow;
using protocol::ParsedStream;
using protocol::StreamKind;

/// Acknowledgements are small and frequent; each costs the guest a notification.
constexpr uint64_t kAckEvery = kStreamWindow / 4;
/// Bytes waiting in user space for the device to take them.
constexpr size_t kMaxUnsent = 2 * protocol::kMaxStreamData;
/// No input is so long, and sums with it don't overflow.
constexpr uint64_t kMaxOffset = uint64_t{1} << 62;

class Output final : public OutputStream, private StreamLink::User {
  public:
    Output(StreamOwner& owner, uint32_t session, protocol::Stream stream, uint64_t offset,
           OutputSink& sink)
        : sink_(sink), taken_(offset), link_(owner, *this, session, stream) {}

    void resume() override {
        if (!offer_held()) return;
        acknowledge();
        if (link_.is_open()) link_.socket().resume();
    }
    uint64_t offset() const override { return taken_; }

  private:
    uint64_t position() const override { return taken_ + held_.size(); }

    bool opened(uint64_t offset) override {
        if (offset != position()) return false;
        acknowledged_ = offset;
        if (!held_.empty()) link_.socket().pause();
        return true;
    }

    bool frame(const ParsedStream& frame) override {
        switch (frame.kind) {
            case StreamKind::kData:
                return data(frame.data);
            case StreamKind::kEof:
                link_.finish();
                sink_.end(ok());
                return true;
            case StreamKind::kAck:
                break;
        }
        return false;
    }

    /// Called with held_ empty: the socket is paused otherwise.
    bool data(std::string_view bytes) {
        if (position() + bytes.size() - acknowledged_ > kStreamWindow) return false;
        link_.made_progress();
        held_ = bytes;
        if (!offer_held()) link_.socket().pause();
        acknowledge();
        return true;
    }

    /// Whether the sink has taken everything.
    bool offer_held() {
        if (held_.empty()) return true;
        const size_t n = sink_.take(held_);
        DRUPE_CHECK(n <= held_.size());
        taken_ += n;
        held_.erase(0, n);
        return held_.empty();
    }

    void acknowledge() {
        if (!link_.is_open() || link_.socket().unsent_bytes() != 0) return;
        // Less than acknowledged: opening the stream says that held bytes have arrived.
        if (taken_ < acknowledged_ + kAckEvery) return;
        std::string bytes;
        protocol::append_ack(bytes, taken_);
        acknowledged_ = taken_;
        link_.socket().send(bytes);
    }
    void drained() override { acknowledge(); }
    void fail(const Error& error) override { sink_.end(error); }

    OutputSink& sink_;
    uint64_t taken_;
    uint64_t acknowledged_ = 0;
    std::string held_;  // received, not taken: at most one frame's
    StreamLink link_;
};

class Input final : public InputStream, private StreamLink::User {
  public:
    Input(StreamOwner& owner, uint32_t session, bool taken_over, InputEvents events)
        : events_(std::move(events)),
          taken_over_(taken_over),
          ring_(kStreamWindow),
          link_(owner, *this, session, protocol::Stream::kStdin) {}

    size_t write(std::string_view bytes) override {
        if (closed_ || ended_) return 0;
        const size_t n = ring_.append(bytes);
        wants_room_ = n < bytes.size();
        drained();
        return n;
    }
    void close() override {
        closed_ = true;
        drained();
    }

  private:
    uint64_t position() const override { return ring_.begin(); }

    bool opened(uint64_t offset) override {
        if (taken_over_ && offset > kMaxOffset) return false;
        if (std::exchange(taken_over_, false)) go_on_at(offset);
        if (offset < ring_.begin() || offset > ever_sent_) return false;
        sent_ = offset;
        eof_sent_ = false;
        return true;
    }

    /// Bytes before the offset are somebody else's; our first one comes there.
    void go_on_at(uint64_t offset) {
        protocol::ByteRing ring(kStreamWindow, offset);
        for (uint64_t at = 0; at < ring_.end();) {
            const std::string_view bytes = ring_.peek(at, kStreamWindow);
            (void)ring.append(bytes);
            at += bytes.size();
        }
        ring_ = std::move(ring);
        base_ = ever_sent_ = offset;
    }

    bool frame(const ParsedStream& frame) override {
        if (frame.kind == StreamKind::kAck && frame.ack_offset <= base_ && base_ != 0) return true;
        if (frame.kind == StreamKind::kAck) {
            if (frame.ack_offset <= ring_.begin() || frame.ack_offset > sent_) return false;
            link_.made_progress();
            ring_.drop_until(frame.ack_offset);
            drained();
            if (std::exchange(wants_room_, false) && events_.on_room) events_.on_room();
            return true;
        }
        if (frame.kind != StreamKind::kEof || !eof_sent_) return false;
        end(ok());
        return true;
    }

    void drained() override {
        if (!link_.is_open()) return;
        std::string bytes;
        while (sent_ < ring_.end() && link_.socket().unsent_bytes() < kMaxUnsent) {
            const std::string_view data = ring_.peek(sent_, protocol::kMaxStreamData);
            bytes.clear();
            protocol::append_data(bytes, data);
            sent_ += data.size();
            ever_sent_ = std::max(ever_sent_, sent_);
            link_.socket().send(bytes);
        }
        if (!closed_ || eof_sent_ || sent_ < ring_.end()) return;
        bytes.clear();
        protocol::append_eof(bytes);
        eof_sent_ = true;
        link_.socket().send(bytes);
    }

    void end(Status status) {
        ended_ = true;
        link_.finish();
        // May be this object's end.
        if (const auto on_end = std::move(events_.on_end)) on_end(std::move(status));
    }
    void fail(const Error& error) override { end(error); }

    InputEvents events_;
    bool taken_over_;
    uint64_t base_ = 0;        // what another host has sent
    protocol::ByteRing ring_;  // from the first byte that isn't acknowledged
    uint64_t sent_ = 0;        // on this connection
    uint64_t ever_sent_ = 0;   // on any
    bool closed_ = false;
    bool eof_sent_ = false;  // on this connection
    bool ended_ = false;
    bool wants_room_ = false;
    StreamLink link_;
};

}  // namespace

std::unique_ptr<OutputStream> make_output_stream(StreamOwner& owner, uint32_t session,
                                                 protocol::Stream stream, uint64_t offset,
                                                 OutputSink& sink) {
    return std::make_unique<Output>(owner, session, stream, offset, sink);
}

std::unique_ptr<InputStream> make_input_stream(StreamOwner& owner, uint32_t session,
                                               bool taken_over, InputEvents events) {
    return std::make_unique<Input>(owner, session, taken_over, std::move(events));
}

}  // namespace drupe::agent
