// Copies of a running container.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "api/engine/clock.h"
#include "api/engine/engine.h"
#include "api/engine/machine_size.h"
#include "api/engine/names.h"
#include "api/engine/working_set.h"
#include "base/log.h"

namespace drupe::engine {
namespace {

using std::chrono::milliseconds;

constexpr unsigned kFolderMode = 0700;
constexpr mode_t kFileMode = 0600;
constexpr milliseconds kSnapshotTimeout{120'000};
/// RAM is written out no slower than this.
constexpr uint64_t kSlowestBytesPerMs = 16 << 10;
constexpr milliseconds kReplaceTimeout{60'000};
constexpr milliseconds kLongestLookAtFirst{2000};

/// A file without a name: whoever has it open keeps it. (Not O_TMPFILE: an overlay's file system
/// may not have it.)
Result<Fd> make_unnamed(const std::string& folder) {
    TRY_ASSIGN(const std::string id, random_id());
    const std::string path = fmt::format("{}/new-{}", folder, short_id(id));
    TRY_ASSIGN(Fd file, open_file(path, O_RDWR | O_CREAT | O_EXCL, kFileMode));
    if (::unlink(path.c_str()) < 0 && errno != ENOENT) return os_error("unlink " + path);
    return file;
}

Result<control::Snapshot> make_files(const std::string& folder) {
    TRY(make_folders(folder, kFolderMode));
    control::Snapshot files;
    TRY_ASSIGN(files.state, make_unnamed(folder));
    TRY_ASSIGN(files.memory, make_unnamed(folder));
    return files;
}

/// The same file, to be read, with a position of its own.
Result<Fd> reader_of(const Fd& file) {
    return open_file(fmt::format("/proc/self/fd/{}", file.get()), O_RDONLY);
}

Result<control::Snapshot> readers_of(const control::Snapshot& files) {
    control::Snapshot readers;
    TRY_ASSIGN(readers.state, reader_of(files.state));
    TRY_ASSIGN(readers.memory, reader_of(files.memory));
    return readers;
}

Result<control::Snapshot> duplicates_of(const control::Snapshot& files) {
    control::Snapshot duplicates;
    TRY_ASSIGN(duplicates.state, files.state.duplicate());
    TRY_ASSIGN(duplicates.memory, files.memory.duplicate());
    return duplicates;
}

std::string name_of(const ForkRequest& request, uint32_t number) {
    if (request.name.empty() || request.count == 1) return request.name;
    return fmt::format("{}-{}", request.name, number);
}

}  // namespace

Result<Forked> Engine::fork(std::string_view query, const ForkRequest& request) {
    if (request.count == 0 || request.count > kMaxClones) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("1 to {} copies can be made at a time", kMaxClones)};
    }
    Forked out;
    out.marks["begun"] = monotonic_ns();
    std::optional<Locked> held;
    TRY_ASSIGN(held, lock_container(query));
    const Container container = std::move(held->container);
    TRY(check_can_be_saved(container, query));
    TRY_ASSIGN(const control::Snapshot files, make_files(options_.paths.snapshots_dir()));
    auto sealed = snapshot(container, files, {}, out.marks);
    if (!sealed) return ended_meanwhile(container, sealed.error());
    held.reset();

    ImageRef disk;
    disk.id = container.image_id;
    disk.chain = sealed.value().chain;
    Fd known;  // the working set
    for (uint32_t number = 1; number <= request.count; ++number) {
        auto clone = start_clone(container, name_of(request, number), disk, files, known);
        if (!clone && out.clones.empty()) return std::move(clone).error();
        if (!clone) {
            out.failure = std::move(clone).error();
            break;
        }
        out.clones.push_back(std::move(clone).value());
        if (number == 1 && request.count > 1) known = look_at_first(out.clones.front(), files);
    }
    out.marks["done"] = monotonic_ns();
    return out;
}

/// As in commit(): the row's step says that the machine may be without its disk.
Result<SealedDisk> Engine::snapshot(const Container& container, const control::Snapshot& files,
                                    SnapshotOptions options,
                                    std::map<std::string, uint64_t>& marks) {
    TRY_ASSIGN(ControlClient client, connect(container.id));
    TRY_ASSIGN(const MachineSize size,
               machine_size(container.config.memory_bytes, container.config.nano_cpus));
    // What the guest changes until the files are written is there twice. The limit stays: the files
    // are in the same cgroup's page cache, and what can't be taken back at once would be the end of
    // the machine.
    TRY(launcher_.limit_memory(container.id, size.monitor_memory_max + size.ram_bytes));
    Container row = container;
    row.step = Step::kCommitting;
    TRY(table_.update(row));
    step("committing");
    control::Request request;
    request.op = control::Op::kSnapshot;
    request.flush = options.disk_alone;
    TRY_ASSIGN(request.snapshot, duplicates_of(files));
    marks["stopped"] = monotonic_ns();
    const auto saved = client.call(std::move(request), kSnapshotTimeout);
    marks["saved"] = monotonic_ns();
    step("saved");
    if (!saved) {
        TRY(go_on(container));
        return Error(saved.error()).wrap("the machine can't be saved");
    }
    auto sealed = images_.seal_top(container.id);
    marks["sealed"] = monotonic_ns();
    step("sealed");
    if (!options.stands_still || !sealed) {
        TRY_ASSIGN(auto disk, disk_after(sealed, container));
        const auto replaced = client.call(replace_disk_with(std::move(disk)), kReplaceTimeout);
        marks["going_on"] = monotonic_ns();
        if (!replaced) return Error(replaced.error()).wrap("the machine didn't take its disk back");
        step("replaced");
        TRY(table_.update(container));
    }
    const milliseconds writing(size.ram_bytes / kSlowestBytesPerMs);
    const auto written = client.call(request_of(control::Op::kSaved), kSnapshotTimeout + writing);
    marks["written"] = monotonic_ns();
    if (!written) {
        if (options.stands_still) {
            TRY(go_on(container));
        }
        return Error(written.error()).wrap("the machine can't be saved");
    }
    step("written");
    return sealed;
}

Status Engine::go_on(const Container& container) {
    TRY_ASSIGN(const bool returned, return_disk(container));
    return returned ? table_.update(container) : ok();  // else the row's step says so
}

/// What the first copy took to come up, the others will take. The file was just written, and so is
/// in the host's cache: what is only read needn't be brought in. If the first is slow they don't
/// wait for it.
Fd Engine::look_at_first(Machine& copy, const control::Snapshot& files) {
    const auto started =
        copy.client.exchange(request_of(control::Op::kStarted), kLongestLookAtFirst);
    if (!started || !started.value().error.empty()) return {};
    auto set = working_set_of(copy.container.pid, files.memory.get());
    if (set) set.value().read.clear();
    auto file = set ? make_file(set.value()) : std::move(set).error();
    if (file) return std::move(file).value();
    log(LogLevel::kWarn, "fork: what copies need isn't known: {}", file.error().message);
    return {};
}

Result<Machine> Engine::start_clone(const Container& parent, const std::string& name,
                                    const ImageRef& disk, const control::Snapshot& files,
                                    const Fd& working_set) {
    StartRequest request;
    TRY_ASSIGN(request.snapshot, readers_of(files));
    if (working_set.valid()) {
        TRY_ASSIGN(request.working_set, reader_of(working_set));
    }
    std::optional<ContainerLock> lock;
    ContainerConfig config = parent.config;
    config.attach_stdin = config.attach_stdout = config.attach_stderr = false;
    config.live.clear();  // the parent's: that memory doesn't fit this disk
    config.from_checkpoint.clear();
    TRY_ASSIGN(Container clone, record(std::move(config), name, disk, lock));
    auto top = images_.create_top(clone.id, disk);
    if (!top) return undo_create(clone, std::move(top).error()).error();
    step("top made");
    clone.step = Step::kStarting;
    TRY(table_.update(clone));
    step("starting");
    auto machine = launch(clone, std::move(request), std::move(top).value());
    if (machine) return machine;
    // Nobody will hear of it.
    TRY_ASSIGN(const bool lives, monitor_lives(run_dir(clone)));
    if (lives) {
        TRY(force_end(clone.id));
    }
    static_cast<void>(launcher_.release(clone.id));
    return undo_create(clone, std::move(machine).error()).error();
}

}  // namespace drupe::engine
