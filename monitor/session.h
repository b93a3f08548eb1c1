#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "base/event_loop.h"
#include "monitor/agent/agent_session.h"
#include "monitor/control.h"
#include "monitor/input_pump.h"
#include "monitor/json_log.h"
#include "monitor/output_hub.h"

namespace drupe {

/// One program in the guest, the workload or an exec, with its streams on the host's side.
/// Made before its Start order is sent; opened when that is answered; over when the program has
/// ended and every byte it wrote was taken. Runs on the loop's thread.
class Session {
  public:
    struct Options {
        uint32_t id = 0;
        bool tty = false;
        bool stdin_open = false;
        /// The first client's end of input is the program's (Docker's StdinOnce).
        bool stdin_once = false;
        JsonLog* log = nullptr;  ///< May be null.
    };
    /// agent must outlive the session.
    Session(EventLoop& loop, agent::AgentSession& agent, const Options& options);
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    ~Session();

    [[nodiscard]] uint32_t id() const { return options_.id; }

    /// Connects a client's descriptors; those that aren't valid are left out.
    [[nodiscard]] Status attach(control::Stdio stdio);
    /// How much of the outputs was taken: where another machine's session goes on.
    struct Offsets {
        uint64_t out = 0;
        uint64_t err = 0;
    };
    [[nodiscard]] Offsets offsets() const;
    /// The guest has started the program, or runs it since before a snapshot.
    [[nodiscard]] Status open(Offsets from);
    [[nodiscard]] Status open() { return open(Offsets()); }
    void exited(const protocol::Exited& exit);

    /// Calls callback with how it ended, now or when it is over. It may not destroy the session.
    void when_done(std::function<void(const control::ExitStatus&)> callback);
    [[nodiscard]] bool has_exited() const { return exit_.has_value(); }
    [[nodiscard]] bool done() const { return done_; }

  private:
    class Output;
    void check_done();

    EventLoop& loop_;
    agent::AgentSession& agent_;
    Options options_;
    std::unique_ptr<Output> stdout_;
    std::unique_ptr<Output> stderr_;  // null with a tty
    std::unique_ptr<InputPump> stdin_;
    std::optional<control::ExitStatus> exit_;
    bool done_ = false;
    std::vector<std::function<void(const control::ExitStatus&)>> waiters_;
};

}  // namespace drupe
