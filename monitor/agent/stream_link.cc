#include "monitor/agent/stream_link.h"

#include <cerrno>
#include <chrono>
#include <utility>

namespace drupe::agent {

using protocol::FrameSocket;
using protocol::Parsed;

namespace {
constexpr std::chrono::milliseconds kRetryPause{100};
}

StreamLink::StreamLink(StreamOwner& owner, User& user, uint32_t session, protocol::Stream stream)
    : owner_(owner), user_(user), session_(session), stream_(stream) {
    owner_.add(*this);
    // Not here: the user is still under construction.
    retry_ = owner_.loop().after(std::chrono::nanoseconds(0), [this] { guest_ready(); });
}

StreamLink::~StreamLink() {
    owner_.remove(*this);
}

std::string StreamLink::name() const {
    constexpr const char* kNames[] = {"stdin", "stdout", "stderr"};
    return std::string(kNames[static_cast<size_t>(stream_)]) + " of session " +
           std::to_string(session_);
}

void StreamLink::guest_ready() {
    if (!finished_ && !socket_ && owner_.guest_is_ready()) open();
}

void StreamLink::guest_broken(const Error& error) {
    if (!finished_) give_up(error);
}

void StreamLink::finish() {
    finished_ = true;
    retry_.reset();
    socket_.reset();
}

void StreamLink::give_up(Error error) {
    finish();
    user_.fail(std::move(error).wrap(name()));
}

void StreamLink::open() {
    opened_ = false;
    refusal_.reset();
    retry_.reset();
    auto fd = owner_.connect(protocol::kStreamPort);
    if (!fd) return lost(false);
    socket_ = std::make_unique<FrameSocket>(
        owner_.loop(), std::move(fd).value(),
        FrameSocket::Events{.consume = [this](std::string_view bytes) { return consume(bytes); },
                            .on_drained = [this] { user_.drained(); },
                            .on_closed = [this](bool broke_rule) { lost(broke_rule); }});
    socket_->send(protocol::encode(
        protocol::StreamOpen{.session = session_, .stream = stream_, .offset = user_.position()}));
}

void StreamLink::lost(bool broke_rule) {
    socket_.reset();
    opened_ = false;
    if (broke_rule && !refusal_) {
        StreamOwner& owner = owner_;
        Error error = Error{ErrorCode::kCorrupt, "the guest broke the protocol"}.wrap(name());
        give_up({ErrorCode::kCorrupt, "the guest broke the protocol"});  // the end of this, perhaps
        owner.report_violation(std::move(error));
        return;
    }
    if (refusal_) return give_up(std::move(*refusal_));
    if (++failures_ > kMaxFailures)
        return give_up(Error{ErrorCode::kIo, "the guest loses the connection again and again"});
    retry_ = owner_.loop().after(kRetryPause, [this] { guest_ready(); });
}

std::optional<size_t> StreamLink::consume(std::string_view bytes) {
    if (!opened_) return take_opened(bytes);
    const protocol::ParsedStream frame = protocol::parse_stream_frame(bytes);
    if (frame.state == Parsed::State::kIncomplete) return 0;
    if (frame.state == Parsed::State::kBroken || !user_.frame(frame)) return std::nullopt;
    return frame.size;  // this link may be gone
}

std::optional<size_t> StreamLink::take_opened(std::string_view bytes) {
    if (bytes.size() < protocol::kStreamOpenedBytes) return 0;
    const auto opened =
        protocol::decode<protocol::StreamOpened>(bytes.substr(0, protocol::kStreamOpenedBytes));
    if (!opened) return std::nullopt;
    if (opened->error != 0) {
        refusal_ = os_error("the guest refuses", opened->error);
        return std::nullopt;
    }
    if (!user_.opened(opened->offset)) return std::nullopt;
    opened_ = true;
    user_.drained();
    return protocol::kStreamOpenedBytes;
}

}  // namespace drupe::agent
