#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/result.h"
#include "monitor/control.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/snapshot/page_runs.h"
#include "vmm/snapshot/state_file.h"

namespace drupe {

/// Writes a snapshot's two files while its machine goes on: in a process of its own, a copy of this
/// one that is made with the vCPUs paused and every device quiet, and so has RAM as it is now. The
/// kernel copies a page once the guest writes it. All on the loop's thread; one that is destroyed
/// tells nobody, and its process goes on.
class SnapshotWriter {
  public:
    /// elsewhere: as write_memory() has it. done is called once, with why the files aren't whole
    /// (no room, or the process was killed). The state file comes last: with it the snapshot is
    /// whole.
    [[nodiscard]] static Result<std::unique_ptr<SnapshotWriter>> start(
        EventLoop& loop, const GuestMemory& memory, const std::vector<PageRun>& elsewhere,
        std::vector<StateSection> sections, const control::Snapshot& files,
        std::function<void(const Status&)> done);

    /// The machine goes on: it may begin. It does by itself after two seconds.
    void begin();

  private:
    SnapshotWriter(EventLoop& loop, Fd report, std::function<void(const Status&)> done);
    void read_report();

    Fd report_;
    std::string text_;
    std::function<void(const Status&)> done_;
    EventLoop::Watch watch_;
};

}  // namespace drupe
