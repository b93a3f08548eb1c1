#pragma once

#include <cstdint>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace drupe::init {

/// The cgroup /drupe that all of the container's processes live in (cgroup v2). Limits can't be
/// changed from inside: the container's cgroup namespace begins at it, and it is mounted with
/// nsdelegate.
class Cgroup {
  public:
    /// Makes it. A limit of 0 is none. Without limits a kernel that lacks the controllers will do.
    [[nodiscard]] static Result<Cgroup> create(uint64_t memory_max, uint64_t pids_max);

    Cgroup() = default;
    /// Moves the calling process into it.
    [[nodiscard]] Status enter() const;
    /// Processes killed in it for want of memory so far.
    [[nodiscard]] uint64_t oom_kills() const;

  private:
    explicit Cgroup(Fd directory) : directory_(std::move(directory)) {}
    Fd directory_;
};

/// The number behind "oom_kill " in the text of memory.events; 0 if there is none.
[[nodiscard]] uint64_t parse_oom_kills(std::string_view events);

}  // namespace drupe::init
