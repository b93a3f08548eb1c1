// New containers that go on from a saved machine.
#include <fmt/format.h>

#include "api/engine/engine.h"
#include "api/engine/names.h"
#include "api/engine/working_set.h"
#include "base/log.h"

namespace drupe::engine {

Result<ImageRef> Engine::take_live(const ImageRef& image, ContainerConfig& asked) const {
    const auto found = SavedMachines(options_.paths.snapshots_dir()).find(image.id);
    if (!found) {
        log(LogLevel::kWarn, "image {}: its container boots: {}", image.id, found.error().message);
        return image;
    }
    const std::optional<SavedMachine>& live = found.value();
    if (!live || !what_needs_a_start(asked).empty()) return image;
    const bool fits = (asked.memory_bytes == 0 || asked.memory_bytes == live->memory_bytes) &&
                      (asked.nano_cpus == 0 || asked.nano_cpus == live->nano_cpus) &&
                      asked.tty == live->tty && (!asked.open_stdin || live->open_stdin);
    if (!fits) return image;
    if (live->protocol != protocol::kVersion) {
        log(LogLevel::kWarn, "image {} was saved by another version of drupe: its container boots",
            image.id);
        return image;
    }
    asked.live = image.id;
    asked.memory_bytes = live->memory_bytes;
    asked.nano_cpus = live->nano_cpus;
    ImageRef disk = image;
    disk.chain = live->chain;
    return disk;
}

Status Engine::open_memory(const std::string& id, StartRequest& request) const {
    const SavedMachines saved(options_.paths.snapshots_dir());
    TRY_ASSIGN(control::Snapshot files, saved.open(id));
    TRY_ASSIGN(const auto version,
               imagefs::version_of_file(files.memory.get(), "a snapshot's memory"));
    const bool verified = options_.verified != nullptr && options_.verified->contains(version);
    request.snapshot = std::move(files);
    request.working_set = saved.open_working_set(id);
    request.kept = {id, verified ? std::nullopt : std::optional(version)};
    return ok();
}

Status Engine::note_working_set(const Container& container, const std::string& memory_id) const {
    const SavedMachines saved(options_.paths.snapshots_dir());
    if (saved.knows_working_set(memory_id)) return ok();
    TRY_ASSIGN(const control::Snapshot files, saved.open(memory_id));
    TRY_ASSIGN(const WorkingSet set, working_set_of(container.pid, files.memory.get()));
    if (set.written.empty()) return ok();  // it hasn't begun
    return saved.keep_working_set(memory_id, set);
}

/// Memory fits the disk that it knew, and no other: not one that anybody has written to since (a
/// copy into the container, a start that nobody saw the end of).
Status Engine::open_fitting(const Container& container, const imagefs::DiskFiles& disk,
                            StartRequest& request) const {
    TRY_ASSIGN(const bool unwritten, images_.is_unwritten(disk));
    if (!unwritten) {
        return Error{ErrorCode::kConflict,
                     "its disk was written to before its first start (make another one, and copy "
                     "into it once it runs)"};
    }
    auto opened = open_memory(container.config.live, request);
    if (opened || opened.error().code != ErrorCode::kNotFound) return opened;
    return Error{ErrorCode::kConflict, "its memory was removed"};
}

/// One of an image boots where it can't go on: it has all that its image has. One of a snapshot was
/// asked to go on, and nothing else.
Status Engine::open_live(const Container& container, const imagefs::DiskFiles& disk,
                         StartRequest& request) const {
    const bool first = container.started_at_ns == 0 && container.finished_at_ns == 0;
    if (container.config.live.empty() || !first) return ok();
    auto opened = open_fitting(container, disk, request);
    if (opened) return ok();
    const std::string& snapshot = container.config.from_checkpoint;
    if (!snapshot.empty()) {
        return std::move(opened).error().wrap(fmt::format(
            "container {} can't go on from snapshot {}", short_id(container.id), snapshot));
    }
    log(LogLevel::kWarn, "container {} boots: {}", short_id(container.id), opened.error().message);
    return ok();
}

void Engine::note_verified(const KeptMemory& memory) const {
    if (memory.unverified && options_.verified != nullptr)
        options_.verified->add(*memory.unverified);
}

}  // namespace drupe::engine
