#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "guest-init/protocol.h"

namespace drupe::init {

/// The cgroup /drupe that all of the container's processes live in (cgroup v2). Limits can't be
/// changed from inside: the container's cgroup namespace begins at it, and it is mounted with
/// nsdelegate.
class Cgroup {
  public:
    /// Makes it, with the controllers that this kernel has.
    [[nodiscard]] static Result<Cgroup> create();

    Cgroup() = default;
    /// Moves the calling process into it.
    [[nodiscard]] Status enter() const;
    /// A limit of 0 is none; a kernel that lacks its controller will do then.
    [[nodiscard]] Status set_limits(uint64_t memory_max, uint64_t pids_max) const;
    /// Stops all that is in it, or lets it go on. Waits for up to kSuspendLimit until all stand
    /// still; EBUSY if they don't, and they go on.
    [[nodiscard]] Status suspend(bool suspended) const;
    static constexpr std::chrono::milliseconds kSuspendLimit{2000};
    [[nodiscard]] int directory() const { return directory_.get(); }
    /// Processes killed in it for want of memory so far.
    [[nodiscard]] uint64_t oom_kills() const;

  private:
    explicit Cgroup(Fd directory) : directory_(std::move(directory)) {}
    Fd directory_;
};

/// What is used in the cgroup of that directory; 0 where this kernel counts nothing.
[[nodiscard]] protocol::Usage read_usage(int directory);

/// The number behind KEY and a space at the start of a line; 0 if there is none.
[[nodiscard]] uint64_t parse_counter(std::string_view text, std::string_view key);

}  // namespace drupe::init
