#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "base/event_loop.h"
#include "base/result.h"
#include "guest-init/frame_socket.h"
#include "guest-init/protocol.h"
#include "monitor/agent/agent_session.h"

namespace drupe::agent {

class StreamLink;

/// What a stream needs from its AgentSession.
class StreamOwner {
  public:
    virtual ~StreamOwner() = default;
    [[nodiscard]] virtual EventLoop& loop() = 0;
    [[nodiscard]] virtual Result<Fd> connect(uint32_t guest_port) = 0;
    [[nodiscard]] virtual bool guest_is_ready() const = 0;
    /// The guest broke the protocol on a stream.
    virtual void report_violation(Error error) = 0;
    virtual void add(StreamLink& link) = 0;
    virtual void remove(StreamLink& link) = 0;
};

/// The connection of one stream: opened, lost, opened again at the offset that the user of this
/// class says. Gives up after kMaxFailures losses without progress.
class StreamLink {
  public:
    static constexpr int kMaxFailures = 16;

    /// The stream's side of it. fail() may destroy the link; so may frame().
    class User {
      public:
        virtual ~User() = default;
        [[nodiscard]] virtual uint64_t position() const = 0;  ///< For StreamOpen.
        /// The guest goes on at offset. False: it can't.
        [[nodiscard]] virtual bool opened(uint64_t offset) = 0;
        /// False: it breaks a rule.
        [[nodiscard]] virtual bool frame(const protocol::ParsedStream& frame) = 0;
        virtual void drained() = 0;
        virtual void fail(const Error& error) = 0;
    };

    StreamLink(StreamOwner& owner, User& user, uint32_t session, protocol::Stream stream);
    ~StreamLink();
    StreamLink(const StreamLink&) = delete;
    StreamLink& operator=(const StreamLink&) = delete;

    /// The guest has said Hello (again): opens the connection unless there is one.
    void guest_ready();
    /// The guest broke the protocol elsewhere: nothing more will come.
    void guest_broken(const Error& error);

    [[nodiscard]] bool is_open() const { return socket_ && opened_; }
    [[nodiscard]] protocol::FrameSocket& socket() { return *socket_; }
    void made_progress() { failures_ = 0; }
    /// The stream is at its end: hangs up for good.
    void finish();

  private:
    void open();
    void lost(bool broke_rule);
    void give_up(Error error);
    [[nodiscard]] std::optional<size_t> consume(std::string_view bytes);
    [[nodiscard]] std::optional<size_t> take_opened(std::string_view bytes);
    [[nodiscard]] std::string name() const;

    StreamOwner& owner_;
    User& user_;
    uint32_t session_;
    protocol::Stream stream_;
    bool opened_ = false;
    bool finished_ = false;
    int failures_ = 0;
    std::optional<Error> refusal_;
    EventLoop::Watch retry_;
    std::unique_ptr<protocol::FrameSocket> socket_;
};

}  // namespace drupe::agent
