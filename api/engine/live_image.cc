// New containers that go on from a saved machine.
#include "api/engine/engine.h"
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

/// Memory fits the disk that it knew, and no other: one that anybody has written to since (a copy
/// into the container, a start that nobody saw the end of) is booted from.
Result<control::Snapshot> Engine::open_live(const Container& container,
                                            const imagefs::DiskFiles& disk) const {
    const bool first = container.started_at_ns == 0 && container.finished_at_ns == 0;
    if (container.config.live.empty() || !first) return control::Snapshot();
    TRY_ASSIGN(const bool unwritten, images_.is_unwritten(disk));
    if (!unwritten) return control::Snapshot();
    auto files = SavedMachines(options_.paths.snapshots_dir()).open(container.config.live);
    if (files) return files;
    log(LogLevel::kWarn, "container {} boots: the memory that it was to go on from isn't there: {}",
        short_id(container.id), files.error().message);
    return control::Snapshot();
}

}  // namespace drupe::engine
