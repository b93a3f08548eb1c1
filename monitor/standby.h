#pragma once

#include <functional>
#include <memory>

#include "base/event_loop.h"
#include "base/fd.h"
#include "monitor/assignment.h"

namespace drupe {

/// A machine that was started before anybody wanted it, and waits for its container. Runs on the
/// loop's thread.
class Standby {
  public:
    /// take_in: called once, with what is assigned; after its success the engine is told.
    /// Whatever goes wrong, and the engine's end, ends the process: nothing is in the machine.
    Standby(EventLoop& loop, Fd socket, std::function<Status(Assignment)> take_in);

  private:
    void on_assignment();

    Fd socket_;
    std::function<Status(Assignment)> take_in_;
    EventLoop::Watch watch_;
};

}  // namespace drupe
