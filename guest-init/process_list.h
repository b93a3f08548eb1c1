#pragma once

#include <optional>
#include <string_view>

#include "guest-init/protocol.h"

namespace drupe::init {

/// All processes that /proc shows, but for the calling one; the lowest numbers first. What has
/// ended meanwhile is left out.
[[nodiscard]] protocol::ProcessList list_processes();

/// What the text of /proc/PID/stat says. ticks: clock ticks a second. nullopt if it isn't one.
[[nodiscard]] std::optional<protocol::ProcessInfo> parse_process_stat(std::string_view text,
                                                                      uint64_t ticks,
                                                                      uint64_t page_bytes);
/// A command line as /proc has it (NUL behind each argument), for people; cut to size.
[[nodiscard]] std::string join_arguments(std::string_view cmdline);

}  // namespace drupe::init
