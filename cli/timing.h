#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace drupe::cli {

/// Where the time of a run went, a phase a line, and KVM's exits. marks: CLOCK_MONOTONIC ns; begin,
/// created and end are this process's, the others the daemon's and the monitor's.
[[nodiscard]] std::string timing_report(const std::map<std::string, uint64_t>& marks,
                                        const std::map<std::string, uint64_t>& counts);

}  // namespace drupe::cli
