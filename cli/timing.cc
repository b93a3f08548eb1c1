#include "cli/timing.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

namespace drupe::cli {
namespace {

struct Phase {
    const char* name;
    const char* from;
    const char* to;
};
// Each begins where the one before ends, so that they add up to the whole.
constexpr std::array kPhases{
    Phase{"create", "begin", "created"},
    Phase{"image open", "created", "launching"},
    Phase{"standby's hand-over", "launching", "assigned"},
    Phase{"monitor exec", "launching", "main"},
    Phase{"KVM set-up", "main", "memory_ready"},
    Phase{"kernel load", "memory_ready", "kernel_loaded"},
    Phase{"template restore", "memory_ready", "restored"},
    Phase{"confinement", "kernel_loaded", "first_run"},
    Phase{"confinement", "restored", "first_run"},
    Phase{"guest to drupe-init", "first_run", "agent_hello"},
    Phase{"standby's hello", "assigned", "agent_hello"},
    Phase{"init to workload", "agent_hello", "workload_started"},
    Phase{"workload", "workload_started", "streams_drained"},
    Phase{"teardown", "streams_drained", "end"},
};

/// KVM counts much; what a boot costs is its exits and the faults that it serves.
bool is_cost(std::string_view name) {
    return name.ends_with("exits") || name.ends_with(".pf_fixed");
}

}  // namespace

std::string timing_report(const std::map<std::string, uint64_t>& all,
                          const std::map<std::string, uint64_t>& counts) {
    std::string text = "\n";
    const auto line = [&](const char* name, uint64_t from, uint64_t to) {
        text += fmt::format("  {:<22} {:>10.2f} ms\n", name,
                            (static_cast<double>(to) - static_cast<double>(from)) / 1e6);
    };
    for (const Phase& phase : kPhases) {
        const auto from = all.find(phase.from);
        const auto to = all.find(phase.to);
        if (from != all.end() && to != all.end()) line(phase.name, from->second, to->second);
    }
    const auto begin = all.find("begin");
    const auto end = all.find("end");
    if (begin != all.end() && end != all.end()) line("total", begin->second, end->second);
    if (counts.empty()) return text;
    text += "\n  KVM counts (from the first KVM_RUN to each mark)\n";
    for (const auto& [name, count] : counts) {
        if (is_cost(name)) text += fmt::format("  {:<34} {:>10}\n", name, count);
    }
    return text;
}

}  // namespace drupe::cli
