#pragma once

#include <string>
#include <vector>

#include "tests/boot/command.h"

namespace drupe::testing {

/// A detached busybox container that sleeps until the object ends.
class Running {
  public:
    explicit Running(const std::vector<std::string>& options = {});
    ~Running();
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

    [[nodiscard]] const std::string& id() const { return id_; }
    /// The host's process id of its monitor.
    [[nodiscard]] pid_t monitor_pid() const;

  private:
    std::string id_;
};

/// Without the newlines at its end.
[[nodiscard]] std::string trim(std::string text);

}  // namespace drupe::testing
