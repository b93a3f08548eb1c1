#pragma once

#include <optional>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace drupe::engine {

/// The right to change one container, across processes: an flock on RUN/vm/ID/lock that ends with
/// this object or this process, however it ends.
class ContainerLock {
  public:
    /// Waits for the lock; creates folder and file if need be.
    [[nodiscard]] static Result<ContainerLock> take(const std::string& run_dir);
    /// nullopt: somebody has it.
    [[nodiscard]] static Result<std::optional<ContainerLock>> try_take(const std::string& run_dir);

  private:
    explicit ContainerLock(Fd fd) : fd_(std::move(fd)) {}
    [[nodiscard]] static Result<std::optional<ContainerLock>> lock(const std::string& run_dir,
                                                                   bool wait);
    Fd fd_;
};

/// Whether a monitor lives: it holds an flock on RUN/vm/ID/alive by an inherited descriptor, from
/// before it is started until its process is gone. No process id is trusted for this.
///
/// A descriptor with the lock taken, to be handed to the monitor. kConflict: one lives already.
[[nodiscard]] Result<Fd> take_alive_lock(const std::string& run_dir);
[[nodiscard]] Result<bool> monitor_lives(const std::string& run_dir);
/// Waits until no monitor lives; false if one still does after timeout_ms (-1: waits for ever).
[[nodiscard]] Result<bool> await_monitor_end(const std::string& run_dir, int timeout_ms);

}  // namespace drupe::engine
