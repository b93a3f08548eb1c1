#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "api/engine/container.h"

namespace drupe::engine {

/// "Less than a second", "About a minute", "5 hours": Docker's words for how long something took.
[[nodiscard]] std::string human_duration(uint64_t seconds);

/// A container's state in one line: "Up 3 seconds", "Exited (1) 2 hours ago". health: "starting",
/// "healthy", "unhealthy", or empty for none.
[[nodiscard]] std::string status_text(const Container& container, uint64_t now_ns,
                                      std::string_view health = "");

/// The program and its arguments in one line, as lists show them: what has a space is quoted.
[[nodiscard]] std::string command_text(const ContainerConfig& config);

}  // namespace drupe::engine
