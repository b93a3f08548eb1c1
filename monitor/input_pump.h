#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/result.h"
#include "monitor/agent/agent_session.h"

namespace drupe {

/// A session's stdin on its way in: whatever the attached clients write, in the order it comes.
/// Reads no faster than the program does. Runs on the loop's thread.
class InputPump {
  public:
    explicit InputPump(EventLoop& loop) : loop_(loop) {}

    /// Adds a writer: a pipe or a socket (kInvalid otherwise). ends_input: when it closes, the
    /// program's stdin does too.
    [[nodiscard]] Status attach(Fd fd, bool ends_input);

    /// From now on bytes go there; before, nothing is read.
    void open(std::unique_ptr<agent::InputStream> stream);
    /// The stream takes bytes again.
    void on_room();
    /// The stream is over: nothing more is read from anybody.
    void stop();

    static constexpr size_t kMaxClients = 16;

  private:
    struct Client {
        Fd fd;
        bool ends_input = false;
        EventLoop::Watch watch;
    };
    void on_readable(std::list<Client>::iterator client);
    void watch_clients();
    [[nodiscard]] bool flush();

    EventLoop& loop_;
    std::list<Client> clients_;
    std::unique_ptr<agent::InputStream> stream_;
    std::string pending_;  // read and not yet accepted; at most one read's worth
    bool end_pending_ = false;
};

}  // namespace drupe
