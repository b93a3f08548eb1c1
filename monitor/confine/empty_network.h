#pragma once

#include "base/result.h"

namespace drupe::confine {

/// While one exists, the calling thread is in a network namespace that holds nothing but a loopback
/// device that is down: a process that it makes stays there.
///
/// All of a process's are the same namespace. One each would cost the host a quarter of a megabyte
/// and the time to make and unmake it. It belongs to the host's user namespace: whoever is in a
/// user namespace of its own can change nothing in it.
class EmptyNetwork {
  public:
    /// Needs CAP_SYS_ADMIN, and network namespaces.
    [[nodiscard]] static Result<EmptyNetwork> enter();
    EmptyNetwork(EmptyNetwork&& other) noexcept;
    EmptyNetwork& operator=(EmptyNetwork&&) = delete;
    EmptyNetwork(const EmptyNetwork&) = delete;
    EmptyNetwork& operator=(const EmptyNetwork&) = delete;
    /// A thread that can't go back ends the process: it would be without a network.
    ~EmptyNetwork();

  private:
    explicit EmptyNetwork(int back) : back_(back) {}
    int back_;  // the namespace to go back to; -1: none
};

}  // namespace drupe::confine
