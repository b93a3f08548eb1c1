// Snapshots of a container that are kept: Docker's checkpoints.
#include <fmt/format.h>

#include <algorithm>

#include "api/engine/clock.h"
#include "api/engine/engine.h"
#include "api/engine/names.h"

namespace drupe::engine {
namespace {

constexpr size_t kMaxCheckpoints = 100;  // of a container
constexpr size_t kShown = 128;           // of a name in a message

Status check_checkpoint_name(std::string_view name) {
    if (check_name(name)) return ok();
    return Error{ErrorCode::kInvalid,
                 fmt::format("Invalid checkpoint ID ({}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are "
                             "allowed, 2 or more characters",
                             name.substr(0, kShown))};
}

/// What a machine that runs is, as what_needs_a_start() has it, and what the user left open. All
/// else is the new container's own.
void take_over(const ContainerConfig& from, ContainerConfig& config) {
    config.image = from.image;
    config.entrypoint = from.entrypoint;
    config.cmd = from.cmd;
    config.env = from.env;
    config.working_dir = from.working_dir;
    config.user = from.user;
    config.open_stdin = from.open_stdin;
    config.kernel = from.kernel;
    config.kernel_args = from.kernel_args;
    config.boot = from.boot;
    config.storage_bytes = from.storage_bytes;
    config.shm_bytes = from.shm_bytes;
    config.init = from.init;
    config.privileged = from.privileged;
    config.cap_add = from.cap_add;
    config.cap_drop = from.cap_drop;
    config.groups = from.groups;
    config.tmpfs = from.tmpfs;
    config.sysctls = from.sysctls;
    config.ulimits = from.ulimits;
    if (config.stop_signal.empty()) config.stop_signal = from.stop_signal;
    if (!config.stop_timeout_s) config.stop_timeout_s = from.stop_timeout_s;
    if (!config.health) config.health = from.health;
}

Status check_version(const SavedMachine& machine) {
    if (machine.protocol == protocol::kVersion) return ok();
    return Error{ErrorCode::kConflict,
                 fmt::format("checkpoint {} was saved by another version of drupe", machine.name)};
}

}  // namespace

std::vector<Engine::Kept> Engine::kept_of(const Container& container) const {
    const SavedMachines saved(options_.paths.snapshots_dir());
    std::vector<Kept> kept;
    for (std::string& id : saved.ids()) {
        auto machine = saved.find(id);
        if (!machine || !machine.value() || machine.value()->container != container.id) continue;
        kept.push_back({std::move(id), *std::move(machine).value()});
    }
    std::ranges::sort(kept, {}, [](const Kept& k) { return k.machine.created_at_ns; });
    return kept;
}

Result<Engine::Kept> Engine::kept(const Container& container, std::string_view name) const {
    for (Kept& kept : kept_of(container)) {
        if (kept.machine.name == name) return std::move(kept);
    }
    return Error{ErrorCode::kNotFound, fmt::format("checkpoint {} does not exist for container {}",
                                                   name.substr(0, kShown), container.name)};
}

Status Engine::create_checkpoint(std::string_view query, const CheckpointRequest& request) {
    TRY(check_checkpoint_name(request.name));
    std::optional<Locked> held;
    TRY_ASSIGN(held, lock_container(query));
    const Container container = std::move(held->container);
    TRY(check_can_be_saved(container, query));
    const std::vector<Kept> before = kept_of(container);
    if (std::ranges::any_of(before,
                            [&](const Kept& k) { return k.machine.name == request.name; })) {
        return Error{ErrorCode::kConflict,
                     fmt::format("checkpoint with name {} already exists for container {}",
                                 request.name, container.name)};
    }
    if (before.size() >= kMaxCheckpoints) {
        return Error{ErrorCode::kLimit, fmt::format("container {} has {} checkpoints: remove some",
                                                    container.name, kMaxCheckpoints)};
    }
    TRY_ASSIGN(const SavedMachines::New made,
               SavedMachines(options_.paths.snapshots_dir()).begin());
    TRY_ASSIGN(const std::string id, random_id());
    std::map<std::string, uint64_t> marks;
    const SnapshotOptions options{.disk_alone = request.stop, .stands_still = request.stop};
    auto sealed = snapshot(container, made.files, options, marks);
    if (!sealed) return ended_meanwhile(container, sealed.error());
    sealed.value().files = {};
    SavedMachine words;
    words.container = container.id;
    words.name = request.name;
    words.created_at_ns = realtime_ns();
    Status kept = keep(container, sealed.value(), made, std::move(words), id);
    if (!request.stop) return kept;
    if (!kept) {
        TRY(go_on(container));
        return kept;
    }
    TRY(end_saved(container));
    held.reset();
    return await_settled(container);
}

Status Engine::end_saved(Container container) {
    step("to end");
    TRY(force_end(container.id));
    container.stopped_by_user = true;  // before anybody who asks its restart policy has the lock
    return table_.update(container);
}

Result<std::vector<Checkpoint>> Engine::checkpoints(std::string_view query) {
    TRY_ASSIGN(const Container container, find(query));
    const SavedMachines saved(options_.paths.snapshots_dir());
    std::vector<Checkpoint> all;
    for (const Kept& kept : kept_of(container)) {
        all.push_back({kept.machine.name, kept.machine.created_at_ns, saved.stored_bytes(kept.id)});
    }
    return all;
}

Status Engine::remove_checkpoint(std::string_view query, std::string_view name) {
    TRY_ASSIGN(const Locked held, lock_container(query));
    TRY_ASSIGN(const Kept found, kept(held.container, name));
    TRY(images_.remove_top(found.machine.pin));
    step("unpinned");
    return SavedMachines(options_.paths.snapshots_dir()).remove(found.id);
}

Result<ImageRef> Engine::take_checkpoint(ContainerConfig& asked) {
    const std::string where = asked.from_checkpoint;
    const size_t colon = where.rfind(':');
    if (colon == std::string::npos) {
        return Error{
            ErrorCode::kInvalid,
            fmt::format("a checkpoint is named CONTAINER:NAME, not {}", where.substr(0, kShown))};
    }
    const std::string_view needless = what_needs_a_start(asked);
    if (!needless.empty() || asked.memory_bytes != 0 || asked.nano_cpus != 0) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("a container that goes on from a checkpoint runs already: it "
                                 "can't be given {}",
                                 needless.empty() ? "other limits" : needless)};
    }
    TRY_ASSIGN(const Container parent, find(where.substr(0, colon)));
    TRY_ASSIGN(const Kept from, kept(parent, where.substr(colon + 1)));
    TRY(check_version(from.machine));
    if (asked.tty != parent.config.tty) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("checkpoint {} is of a container {} a terminal", where,
                                 parent.config.tty ? "with" : "without")};
    }
    if (!asked.image.empty()) {  // Docker's clients have to name one
        TRY_ASSIGN(const ImageRef image, images_.resolve(asked.image));
        if (image.id != parent.image_id) {
            return Error{ErrorCode::kInvalid, fmt::format("checkpoint {} is of another image: {}",
                                                          where, parent.config.image)};
        }
    }
    if (asked.open_stdin && !from.machine.open_stdin) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("checkpoint {} is of a container without an input", where)};
    }
    take_over(parent.config, asked);
    asked.memory_bytes = from.machine.memory_bytes;
    asked.nano_cpus = from.machine.nano_cpus;
    asked.pids_limit = from.machine.pids_limit;
    asked.live = from.id;
    ImageRef disk;
    disk.id = parent.image_id;
    disk.chain = from.machine.chain;
    return disk;
}

Status Engine::check_whole(const Kept& kept, KeptMemory& memory) const {
    const SavedMachines saved(options_.paths.snapshots_dir());
    TRY(saved.check(kept.id, kept.machine));
    if (!memory.unverified) return ok();
    TRY(saved.verify(kept.id, kept.machine));
    note_verified(memory);
    memory.unverified.reset();
    return ok();
}

/// All is looked at before its own disk is gone.
Result<imagefs::DiskFiles> Engine::roll_back(Container& container, StartRequest& request) {
    TRY_ASSIGN(const Kept from, kept(container, request.checkpoint));
    TRY(check_version(from.machine));
    TRY(open_memory(from.id, request));
    if (Status whole = check_whole(from, request.kept); !whole) {
        if (whole.error().code != ErrorCode::kCorrupt &&
            whole.error().code != ErrorCode::kUnsupported)
            return whole.error();  // the host's, not the snapshot's
        return std::move(whole).error().wrap(
            fmt::format("checkpoint {} can't be used (remove it; a start without it boots, from "
                        "the disk as it is)",
                        from.machine.name));
    }
    container.config.memory_bytes = from.machine.memory_bytes;
    container.config.nano_cpus = from.machine.nano_cpus;
    container.config.pids_limit = from.machine.pids_limit;
    TRY(table_.reconfigure(container));
    ImageRef disk;
    disk.id = container.image_id;
    disk.chain = from.machine.chain;
    auto files = images_.reset_top(container.id, disk);
    step("rolled back");
    return files;
}

}  // namespace drupe::engine
