#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace drupe {

/// How a machine ended and where its time went: the authority on both, written once, at the end, by
/// the monitor. A file that is empty or unreadable means that the monitor was killed. Readers treat
/// it as hostile.
struct ExitRecord {
    /// "exited": the workload ended (status, signal).  "not-started": it couldn't be started
    /// (status 125 to 127, error says why).  "power-off", "reset", "panic", "triple-fault": the
    /// guest's kernel ended first. "agent-lost": drupe-init hung up, broke the protocol or never
    /// came.  "killed": by order. "vmm-error": the host refused something (error says what).
    std::string reason;
    uint32_t status =
        0;  ///< What `drupe run` exits with: the workload's status, 128 + signal, or 125 to 127.
    uint32_t signal = 0;
    bool oom_killed = false;
    std::string error;           ///< For people; at most 4 KiB.
    uint64_t started_at_ns = 0;  ///< CLOCK_REALTIME at which the workload started; 0: never.
    uint64_t finished_at_ns = 0;
    uint64_t guest_faults = 0;  ///< Broken rules that devices counted.

    /// CLOCK_MONOTONIC nanoseconds of each mark that was reached. The names, in order: launched,
    /// main, configured, vm_created, memory_ready, kernel_loaded, confined, first_run, agent_hello,
    /// workload_started, workload_exited, streams_drained, halted, record_written.
    std::map<std::string, uint64_t> marks;
    /// Counts: at each mark M of first_run, agent_hello and workload_started, "M.exits" and the
    /// like, when timing was asked for.
    std::map<std::string, uint64_t> counts;
};

[[nodiscard]] std::string to_json(const ExitRecord& record);
/// kCorrupt if the text isn't a record.
[[nodiscard]] Result<ExitRecord> parse_exit_record(std::string_view json);

}  // namespace drupe
