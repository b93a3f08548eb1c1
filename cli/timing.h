#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "monitor/exit_record.h"

namespace drupe::cli {

/// Where the time of a run went, a phase a line, and KVM's exits. `marks` are this process's:
/// begin, launching, end (CLOCK_MONOTONIC ns); the others are in the record.
[[nodiscard]] std::string timing_report(const std::map<std::string, uint64_t>& marks,
                                        const ExitRecord& record);

}  // namespace drupe::cli
