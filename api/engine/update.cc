// What may change of a container after it was made: its name, its limits, its restart policy.

#include <fmt/format.h>

#include <algorithm>

#include "api/engine/engine.h"
#include "api/engine/machine_size.h"
#include "api/engine/names.h"

namespace drupe::engine {
namespace {

constexpr uint64_t kMiB = 1 << 20;

void apply(const ContainerChanges& changes, ContainerConfig& config) {
    if (changes.memory_bytes) config.memory_bytes = *changes.memory_bytes;
    if (changes.nano_cpus) config.nano_cpus = *changes.nano_cpus;
    if (changes.pids_limit) config.pids_limit = *changes.pids_limit;
    if (changes.restart) config.restart = *changes.restart;
}

Error refused(const Container& container, std::string_view why) {
    return Error{ErrorCode::kConflict,
                 fmt::format("Cannot update container {}: {}", container.id, why)};
}

}  // namespace

Status Engine::rename(std::string_view query, std::string_view new_name) {
    if (new_name.starts_with('/')) new_name.remove_prefix(1);
    if (new_name.empty()) {
        return Error{ErrorCode::kInvalid, "Neither old nor new names may be empty"};
    }
    TRY(check_name(new_name));
    TRY_ASSIGN(const Container found, find(query));
    TRY_ASSIGN(const auto lock, ContainerLock::take(run_dir(found)));
    Status renamed = table_.rename(found.id, new_name);
    const bool taken = !renamed && renamed.error().message.starts_with("Conflict. ");
    return taken ? std::move(renamed).error().wrap("Error when allocating new name") : renamed;
}

// The machine first: a command that dies in between leaves limits which the next start sets right.
Result<Container> Engine::update(std::string_view query, const ContainerChanges& changes) {
    TRY_ASSIGN(Locked held, lock_container(query));
    Container now = std::move(held.container);
    const ContainerConfig before = now.config;
    apply(changes, now.config);
    if (now.config.auto_remove && now.config.restart.kind != RestartPolicy::Kind::kNo) {
        return refused(now,
                       "restart policy cannot be updated because AutoRemove is enabled for the "
                       "container");
    }
    TRY(validate(now.config));
    TRY(machine_size(now.config.memory_bytes, now.config.nano_cpus));
    if (has_machine(now.state)) {
        TRY(change_limits(now, before));
        TRY_ASSIGN(const MachineSize size, machine_size(before.memory_bytes, before.nano_cpus));
        TRY_ASSIGN(const MachineSize next,
                   machine_size(now.config.memory_bytes, now.config.nano_cpus));
        if (now.config.machine_ram_bytes == 0) now.config.machine_ram_bytes = size.ram_bytes;
        now.config.resized |= size.ram_bytes != next.ram_bytes || size.vcpus != next.vcpus;
    }
    step("limits changed");
    TRY(table_.reconfigure(now));
    return now;
}

Status Engine::change_limits(const Container& now, const ContainerConfig& before) {
    const ContainerConfig& config = now.config;
    TRY_ASSIGN(const MachineSize old_size, machine_size(before.memory_bytes, before.nano_cpus));
    TRY_ASSIGN(const MachineSize size, machine_size(config.memory_bytes, config.nano_cpus));
    const bool memory = config.memory_bytes != before.memory_bytes;
    const bool pids = config.pids_limit != before.pids_limit;
    const bool cpus = config.nano_cpus != before.nano_cpus;
    if (memory) {
        // A machine keeps the size that it was started with.
        const uint64_t ram_bytes = std::max(old_size.ram_bytes, before.machine_ram_bytes);
        if (size.ram_bytes > ram_bytes) {
            return refused(
                now,
                fmt::format("--memory {}m needs a machine of {} MiB, and it runs in "
                            "one of {} MiB: stop it first",
                            config.memory_bytes / kMiB, size.ram_bytes / kMiB, ram_bytes / kMiB));
        }
    }
    if (cpus && size.vcpus > old_size.vcpus) {
        return refused(now, fmt::format("--cpus needs a machine of {} vCPUs, and it runs in one of "
                                        "{}: stop it first",
                                        size.vcpus, old_size.vcpus));
    }
    if (memory || pids) {
        if (now.state == State::kPaused) return refused(now, "it is paused: unpause it first");
        control::Request request;
        request.op = control::Op::kLimits;
        request.limits = {size.workload_memory_max, config.pids_limit};
        auto changed = order(now, std::move(request));
        if (!changed) return std::move(changed).error().wrap("Cannot update container " + now.id);
    }
    if (cpus) {
        TRY(launcher_.limit_cpu(now.id, size.cpu_percent));
    }
    return ok();
}

}  // namespace drupe::engine
