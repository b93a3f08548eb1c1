#include "monitor/agent/agent_session.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "guest-init/frame_socket.h"
#include "monitor/agent/agent_streams.h"
#include "monitor/agent/stream_link.h"

namespace drupe::agent {
namespace {

using protocol::FrameSocket;
using protocol::Kind;
using protocol::Parsed;

template <class... Ts>
struct Overloaded : Ts... {
    using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

Kind kind_of(const Order& order) {
    return std::visit(Overloaded{[](const protocol::Root&) { return Kind::kRoot; },
                                 [](const protocol::Identity&) { return Kind::kIdentity; },
                                 [](const protocol::Start&) { return Kind::kStart; },
                                 [](const protocol::Signal&) { return Kind::kSignal; },
                                 [](const protocol::Resize&) { return Kind::kResize; },
                                 [](const protocol::Forget&) { return Kind::kForget; },
                                 [](const protocol::Freeze&) { return Kind::kFreeze; },
                                 [](const protocol::Limits&) { return Kind::kLimits; },
                                 [](const protocol::Suspend&) { return Kind::kSuspend; },
                                 [](const protocol::Prepare&) { return Kind::kPrepare; },
                                 [](const protocol::Thaw&) { return Kind::kThaw; },
                                 [](const protocol::Shutdown&) { return Kind::kShutdown; }},
                      order);
}

class Session final : public AgentSession, private StreamOwner {
  public:
    Session(EventLoop& loop, Connector connector, AgentEvents events)
        : loop_(loop), connector_(std::move(connector)), events_(std::move(events)) {}

    Status attach(Fd control) override;
    bool ready() const override { return state_ == State::kReady; }
    void hold(bool held) override;
    Status order(const Order& order, std::chrono::nanoseconds timeout, OnAnswer on_answer) override;
    Result<std::unique_ptr<OutputStream>> open_output(uint32_t session, protocol::Stream stream,
                                                      uint64_t offset, OutputSink& sink) override;
    Result<std::unique_ptr<InputStream>> open_input(uint32_t session, InputEvents events) override;
    void expect_session(uint32_t session) override { sessions_[session].taken_over = true; }
    uint64_t violations() const override { return violations_; }

  private:
    enum class State : uint8_t { kWaiting, kGreeting, kReady, kHalted, kBroken };
    struct Pending {
        OnAnswer on_answer;  // null once its time is over
        EventLoop::Watch timer;
        Kind kind{};
        uint32_t session = 0;  // of Start and Forget
    };
    struct SessionState {
        bool reported = false;   // to on_exited
        bool announced = false;  // by the guest, on this connection
        bool taken_over = false;
    };

    // StreamOwner
    EventLoop& loop() override { return loop_; }
    Result<Fd> connect(uint32_t guest_port) override { return connector_(guest_port); }
    bool guest_is_ready() const override { return ready() && !held_; }
    void report_violation(Error error) override { break_off(std::move(error)); }
    void add(StreamLink& link) override { links_.insert(&link); }
    void remove(StreamLink& link) override { links_.erase(&link); }

    [[nodiscard]] std::optional<size_t> consume(std::string_view bytes);
    // Each returns nullptr, or which rule the frame breaks.
    [[nodiscard]] const char* take(const Parsed& frame);
    [[nodiscard]] const char* take_hello(const Parsed& frame);
    [[nodiscard]] const char* take_answer(const Parsed& frame);
    [[nodiscard]] const char* take_exited(const Parsed& frame);
    void settle(const Pending& pending, bool success, int guest_errno);
    void on_closed(bool broke_rule);
    void fail_orders(const Error& error);
    void break_off(Error error);
    template <class Call>
    void for_each_link(const Call& call);
    [[nodiscard]] EventLoop::Watch limit(uint32_t id, std::chrono::nanoseconds timeout);

    EventLoop& loop_;
    Connector connector_;
    AgentEvents events_;
    State state_ = State::kWaiting;
    const char* broken_rule_ = "";
    uint64_t violations_ = 0;
    bool held_ = false;
    uint32_t last_id_ = 0;
    std::map<uint32_t, Pending> pending_;
    std::map<uint32_t, SessionState> sessions_;  // started and not forgotten
    std::set<StreamLink*> links_;
    std::unique_ptr<FrameSocket> control_;
};

Status Session::attach(Fd control) {
    if (state_ == State::kBroken)
        return Error{ErrorCode::kDenied, "the guest has broken the protocol before"};
    if (state_ != State::kWaiting)
        return Error{ErrorCode::kConflict, "the guest has a control connection already"};
    state_ = State::kGreeting;
    for (auto& [id, session] : sessions_) session.announced = false;
    control_ = std::make_unique<FrameSocket>(
        loop_, std::move(control),
        FrameSocket::Events{.consume = [this](std::string_view bytes) { return consume(bytes); },
                            .on_drained = {},
                            .on_closed = [this](bool broke_rule) { on_closed(broke_rule); }});
    return ok();
}

Status Session::order(const Order& order, std::chrono::nanoseconds timeout, OnAnswer on_answer) {
    if (!ready()) return Error{ErrorCode::kConflict, "the guest isn't ready for orders"};
    if (pending_.size() >= kMaxOutstandingOrders)
        return Error{ErrorCode::kLimit, "the guest leaves too many orders unanswered"};
    do ++last_id_;
    while (last_id_ == 0 || pending_.count(last_id_) != 0);
    const uint32_t id = last_id_;
    const std::string frame = std::visit(
        [&](const auto& value) { return protocol::frame(kind_of(order), id, value); }, order);
    if (frame.size() - protocol::kFrameHeaderBytes > protocol::kMaxOrderBytes)
        return Error{ErrorCode::kInvalid, "arguments and environment are longer than 1 MiB"};
    if (control_->unsent_bytes() + frame.size() > kMaxQueuedOrderBytes)
        return Error{ErrorCode::kLimit, "the guest doesn't read its orders"};

    Pending pending{.on_answer = std::move(on_answer), .timer = {}, .kind = kind_of(order)};
    if (const auto* start = std::get_if<protocol::Start>(&order)) {
        pending.session = start->session;
        if (sessions_.size() >= protocol::kMaxSessions)
            return Error{ErrorCode::kLimit, "too many sessions in this machine"};
        sessions_.try_emplace(start->session);
    }
    if (const auto* forget = std::get_if<protocol::Forget>(&order))
        pending.session = forget->session;
    pending.timer = limit(id, timeout);
    pending_.emplace(id, std::move(pending));
    control_->send(frame);
    return ok();
}

EventLoop::Watch Session::limit(uint32_t id, std::chrono::nanoseconds timeout) {
    return loop_.after(timeout, [this, id, timeout] {
        const auto late = pending_.find(id);
        if (late == pending_.end()) return;
        if (held_) {
            late->second.timer = limit(id, timeout);  // the end of this closure
            return;
        }
        if (const OnAnswer answer = std::exchange(late->second.on_answer, nullptr))
            answer(Error{ErrorCode::kLimit, "the guest didn't answer in time"});
    });
}

void Session::hold(bool held) {
    held_ = held;
    if (!held && ready()) for_each_link([](StreamLink& link) { link.guest_ready(); });
}

Result<std::unique_ptr<OutputStream>> Session::open_output(uint32_t session,
                                                           protocol::Stream stream, uint64_t offset,
                                                           OutputSink& sink) {
    if (links_.size() >= kMaxOpenStreams) return Error{ErrorCode::kLimit, "too many streams"};
    if (stream == protocol::Stream::kStdin)
        return Error{ErrorCode::kInvalid, "stdin can't be read"};
    return make_output_stream(*this, session, stream, offset, sink);
}

Result<std::unique_ptr<InputStream>> Session::open_input(uint32_t session, InputEvents events) {
    if (links_.size() >= kMaxOpenStreams) return Error{ErrorCode::kLimit, "too many streams"};
    const auto known = sessions_.find(session);
    const bool taken_over = known != sessions_.end() && known->second.taken_over;
    return make_input_stream(*this, session, taken_over, std::move(events));
}

std::optional<size_t> Session::consume(std::string_view bytes) {
    const Parsed frame = protocol::parse_frame(bytes, protocol::kMaxEventBytes);
    if (frame.state == Parsed::State::kIncomplete) return 0;
    const char* broken_rule =
        frame.state == Parsed::State::kBroken ? "an unknown or oversized frame" : take(frame);
    if (broken_rule == nullptr) return frame.size;
    broken_rule_ = broken_rule;
    return std::nullopt;
}

const char* Session::take(const Parsed& frame) {
    if (state_ == State::kBroken) return "";  // by a stream, in a callback of this very frame
    if (state_ == State::kGreeting) return take_hello(frame);
    if (state_ == State::kHalted) return "a frame after Halted";
    switch (frame.header.kind) {
        case Kind::kAnswer:
            return take_answer(frame);
        case Kind::kExited:
            return take_exited(frame);
        case Kind::kHalted:
            if (frame.header.id != 0 || !frame.payload.empty()) return "a malformed Halted";
            state_ = State::kHalted;
            if (events_.on_halted) events_.on_halted();
            return nullptr;
        default:
            return "a frame that the guest doesn't send at this point";
    }
}

const char* Session::take_hello(const Parsed& frame) {
    if (frame.header.kind != Kind::kHello || frame.header.id != 0) return "no Hello at first";
    const auto hello = protocol::decode<protocol::Hello>(frame.payload);
    if (!hello) return "a malformed Hello";
    if (hello->min_version > protocol::kVersion || hello->version < protocol::kMinVersion)
        return "no protocol version in common";
    control_->send(protocol::frame(
        Kind::kWelcome, 0,
        protocol::Welcome{.version = std::min(hello->version, protocol::kVersion)}));
    state_ = State::kReady;
    if (events_.on_hello) events_.on_hello(*hello);
    for_each_link([](StreamLink& link) { link.guest_ready(); });
    return nullptr;
}

const char* Session::take_answer(const Parsed& frame) {
    const auto answer = protocol::decode<protocol::Answer>(frame.payload);
    if (!answer) return "a malformed Answer";
    auto node = pending_.extract(frame.header.id);
    if (!node) return "an Answer to no order";
    Pending& pending = node.mapped();
    pending.timer.reset();
    settle(pending, answer->error == 0, answer->error);
    if (!pending.on_answer) return nullptr;
    if (answer->error == 0) {
        pending.on_answer(ok());
    } else {
        const Error error = os_error("", answer->error);
        pending.on_answer(Error{error.code,
                                answer->message.empty() ? error.message.substr(2) : answer->message,
                                answer->error});
    }
    return nullptr;
}

void Session::settle(const Pending& pending, bool success, int guest_errno) {
    const bool never_started = pending.kind == Kind::kStart && !success && guest_errno != EEXIST;
    const bool forgotten = pending.kind == Kind::kForget && success;
    if (never_started || forgotten) sessions_.erase(pending.session);
}

const char* Session::take_exited(const Parsed& frame) {
    const auto exited = protocol::decode<protocol::Exited>(frame.payload);
    if (!exited || frame.header.id != 0) return "a malformed Exited";
    const auto session = sessions_.find(exited->session);
    if (session == sessions_.end()) return "the exit of a session that wasn't started";
    if (std::exchange(session->second.announced, true)) return "a second exit of a session";
    if (!std::exchange(session->second.reported, true) && events_.on_exited)
        events_.on_exited(*exited);
    return nullptr;
}

void Session::on_closed(bool broke_rule) {
    if (state_ == State::kBroken) return;
    if (broke_rule)
        return break_off(Error{ErrorCode::kCorrupt, std::string("the guest sent ") + broken_rule_});
    control_.reset();
    const bool halted = state_ == State::kHalted;
    if (!halted) state_ = State::kWaiting;
    const Error error{ErrorCode::kIo, "the connection to the guest is lost"};
    fail_orders(error);
    if (!halted && events_.on_lost) events_.on_lost(error);
}

void Session::break_off(Error error) {
    ++violations_;
    if (state_ == State::kBroken) return;
    state_ = State::kBroken;
    control_.reset();
    fail_orders(error);
    for_each_link([&](StreamLink& link) { link.guest_broken(error); });
    if (events_.on_lost) events_.on_lost(error);
}

void Session::fail_orders(const Error& error) {
    for (auto& [id, pending] : std::exchange(pending_, {}))
        if (pending.on_answer) pending.on_answer(error);
}

/// Callbacks may remove links and add others.
template <class Call>
void Session::for_each_link(const Call& call) {
    const std::vector<StreamLink*> links(links_.begin(), links_.end());
    for (StreamLink* link : links)
        if (links_.count(link) != 0) call(*link);
}

}  // namespace

std::unique_ptr<AgentSession> make_agent_session(EventLoop& loop, AgentSession::Connector connector,
                                                 AgentEvents events) {
    return std::make_unique<Session>(loop, std::move(connector), std::move(events));
}

}  // namespace drupe::agent
