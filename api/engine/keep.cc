// Machines that are kept: which can be, how, and for how long.
#include <fmt/format.h>
#include <sys/stat.h>

#include "api/engine/engine.h"
#include "api/engine/machine_size.h"
#include "vmm/snapshot/memory_pages.h"
#include "vmm/snapshot/state_file.h"

namespace drupe::engine {
namespace {

constexpr uint64_t kDefaultShmBytes = 64 << 20;

}  // namespace

Status check_can_be_saved(const Container& container, std::string_view query) {
    const auto refuse = [&](std::string_view why) {
        return Error{ErrorCode::kConflict, fmt::format("container {} {}", query, why)};
    };
    if (container.state == State::kPaused) return refuse("is paused: unpause it first");
    if (container.state != State::kRunning) {
        return refuse(refusal(container.state, Command::kExec));
    }
    if (container.config.console) return refuse("can't be saved: it has a console");
    if (container.config.read_only) return refuse("can't be saved: it has a read-only root");
    if (container.config.resized) {
        return refuse("can't be saved: its limits were changed while it ran; restart it first");
    }
    return ok();
}

std::string_view what_needs_a_start(const ContainerConfig& c) {
    if ((c.entrypoint && !c.entrypoint->empty()) || (c.cmd && !c.cmd->empty())) return "a command";
    if (!c.env.empty()) return "environment variables";
    if (!c.working_dir.empty()) return "a working directory";
    if (!c.user.empty()) return "a user";
    if (!c.kernel.empty() || !c.kernel_args.empty()) return "a kernel";
    if (c.console) return "a console";
    if (!c.boot.empty()) return "a way to boot";
    if (c.read_only) return "a read-only root";
    if (c.storage_bytes != 0) return "a size of its disk";
    // Clients of the API name its default.
    if (c.shm_bytes != 0 && c.shm_bytes != kDefaultShmBytes) return "a size of /dev/shm";
    if (c.pids_limit != 0) return "a limit of processes";
    if (c.init) return "an init";
    if (c.privileged || !c.cap_add.empty() || !c.cap_drop.empty()) return "capabilities";
    if (!c.groups.empty()) return "groups";
    if (!c.tmpfs.empty()) return "a tmpfs";
    if (!c.sysctls.empty()) return "sysctls";
    if (!c.ulimits.empty()) return "ulimits";
    return "";
}

namespace {

/// That what a monitor has written, which may be an older one or its guest's, is a snapshot of this
/// machine to this build: its memory's length.
Result<uint64_t> check_written(const ContainerConfig& config, const SavedMachines::New& made) {
    TRY_ASSIGN(const MachineSize size, machine_size(config.memory_bytes, config.nano_cpus));
    TRY_ASSIGN(const std::string state, read_file(made.folder + "/state", kMaxStateFileBytes));
    TRY_ASSIGN(const auto sections, decode_state_file(state));
    TRY(find_section(sections, kMemorySection, kMemorySectionVersion));
    struct stat memory {};
    if (::fstat(made.files.memory.get(), &memory) < 0) return os_error("fstat a memory");
    if (static_cast<uint64_t>(memory.st_size) == size.ram_bytes) return size.ram_bytes;
    return Error{ErrorCode::kCorrupt,
                 fmt::format("the memory that was written has {} bytes, the machine {}",
                             memory.st_size, size.ram_bytes)};
}

}  // namespace

Status Engine::keep(const Container& container, const SealedDisk& disk,
                    const SavedMachines::New& made, SavedMachine words, const std::string& id) {
    const SavedMachines saved(options_.paths.snapshots_dir());
    TRY_ASSIGN(const uint64_t memory_bytes, check_written(container.config, made));
    ImageRef chain;
    chain.id = container.image_id;
    chain.chain = disk.chain;
    { TRY(images_.create_top(made.pin, chain)); }
    TRY(images_.reset_top(made.pin, chain));  // durable, which what is published will rely on
    step("pinned");
    if (const auto before = saved.find(id); before && before.value()) {
        TRY(images_.remove_top(before.value()->pin));
    }
    words.memory_file_bytes = memory_bytes;
    words.chain = disk.chain;
    words.pin = made.pin;
    words.memory_bytes = container.config.memory_bytes;
    words.nano_cpus = container.config.nano_cpus;
    words.pids_limit = container.config.pids_limit;
    words.tty = container.config.tty;
    words.open_stdin = container.config.open_stdin;
    words.protocol = protocol::kVersion;
    TRY(saved.publish(made, words, id));
    step("published");
    return ok();
}

Result<bool> Engine::is_wanted(const std::string& id, const SavedMachine& saved) {
    if (saved.container.empty()) {
        const auto image = images_.resolve(id);
        if (!image && image.error().code != ErrorCode::kNotFound) return image.error();
        return image.has_value();
    }
    const auto row = table_.by_id(saved.container);
    if (!row && row.error().code != ErrorCode::kNotFound) return row.error();
    return row.has_value();
}

Status Engine::sweep_saved() {
    const SavedMachines saved(options_.paths.snapshots_dir());
    TRY_ASSIGN(const std::vector<SavedMachines::New> all_dead, saved.dead());
    for (const SavedMachines::New& dead : all_dead) {
        TRY(images_.remove_top(dead.pin));
        TRY(saved.remove(dead));
    }
    for (const std::string& id : saved.ids()) {
        const auto machine = saved.find(id);
        if (!machine || !machine.value()) continue;  // whose it is can't be known: it is kept
        TRY_ASSIGN(const bool wanted, is_wanted(id, *machine.value()));
        if (wanted) continue;
        TRY(images_.remove_top(machine.value()->pin));
        TRY(saved.remove(id));
    }
    return ok();
}

}  // namespace drupe::engine
