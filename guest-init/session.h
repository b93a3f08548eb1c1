#pragma once

#include <sys/types.h>

#include <optional>

#include "base/event_loop.h"
#include "base/fd.h"
#include "guest-init/input_stream.h"
#include "guest-init/output_stream.h"
#include "guest-init/protocol.h"
#include "guest-init/spawn.h"

namespace drupe::init {

/// A process that the host started, its streams, and how it ended. Lives until the host forgets it.
class Session {
  public:
    /// tty: as ordered.
    Session(EventLoop& loop, uint32_t id, Spawned spawned, bool tty);

    [[nodiscard]] pid_t pid() const { return pid_; }
    [[nodiscard]] bool running() const { return !exit_; }
    [[nodiscard]] const std::optional<protocol::Exited>& exit() const { return exit_; }

    /// wait_status as of waitpid(2).
    void process_exited(int wait_status, bool oom_killed);
    /// Hands the connection to its stream, which answers.
    void attach(const protocol::StreamOpen& open, Fd connection);
    [[nodiscard]] Status signal(const protocol::Signal& order) const;
    [[nodiscard]] Status resize(const protocol::Resize& order) const;

  private:
    uint32_t id_;
    pid_t pid_;
    Fd tty_;  // a duplicate of the master
    std::optional<InputStream> input_;
    std::optional<OutputStream> output_;
    std::optional<OutputStream> error_;
    std::optional<protocol::Exited> exit_;
};

/// Says StreamOpened with an error on a connection and hangs up.
void refuse_stream(const Fd& connection, int error);

}  // namespace drupe::init
