#pragma once

#include <functional>
#include <memory>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/result.h"
#include "monitor/config.h"
#include "monitor/container.h"
#include "monitor/control_server.h"
#include "monitor/exit_record.h"
#include "monitor/timeline.h"

namespace drupe {

/// A machine's container, with its control socket: there from the beginning, or from when it was
/// assigned to a machine that stood by. Runs on the loop's thread.
class Tenant {
  public:
    /// All outlive it. config is read when it moves in; on_ended is as Container's.
    Tenant(EventLoop& loop, const MonitorConfig& config, ContainerHost& host, Timeline& timeline,
           std::function<void(ExitRecord)> on_ended);

    /// Once: from here on the container has the machine, and clients are served.
    [[nodiscard]] Status move_in();
    [[nodiscard]] bool moved_in() const { return container_ != nullptr; }
    /// The guest connected. Before there is a container its last connection is kept for it.
    [[nodiscard]] Status attach_agent(Fd control);
    /// The machine stopped on its own; reason as in ExitRecord. False: nobody was there.
    bool machine_stopped(const std::string& reason, const std::string& detail);

  private:
    EventLoop& loop_;
    const MonitorConfig& config_;
    ContainerHost& host_;
    Timeline& timeline_;
    std::function<void(ExitRecord)> on_ended_;
    Fd agent_;
    std::unique_ptr<Container> container_;
    std::unique_ptr<ControlServer> server_;
};

}  // namespace drupe
