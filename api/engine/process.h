#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

namespace drupe::engine {

/// When a process was started, in clock ticks since boot (field 22 of /proc/PID/stat); 0 if there
/// is none. Tells a process from a later one with its number.
[[nodiscard]] uint64_t process_start_ticks(pid_t pid);

/// Its user's number on this host; nullopt if there is no such process.
[[nodiscard]] std::optional<uint32_t> process_user(pid_t pid);

/// What it has mapped of files' content in memory, unchanged: others may have the same pages. 0 if
/// there is no such process.
[[nodiscard]] uint64_t process_file_bytes(pid_t pid);

/// Who listens at the other end of a connected Unix socket; 0 if unknown.
[[nodiscard]] pid_t peer_pid(int socket);

}  // namespace drupe::engine
