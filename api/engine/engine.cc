#include "api/engine/engine.h"

#include <fmt/format.h>

#include <filesystem>
#include <utility>

#include "api/engine/clock.h"
#include "api/engine/machine_size.h"
#include "api/engine/names.h"
#include "base/log.h"

namespace drupe::engine {
namespace {

constexpr unsigned kFolderMode = 0710;
constexpr unsigned kPrivateMode = 0700;

}  // namespace

Result<std::unique_ptr<Engine>> Engine::open(Options options, ImageSource& images,
                                             MonitorLauncher& launcher) {
    TRY(make_folders(options.paths.root + "/containers", kPrivateMode));
    TRY(make_folders(options.paths.run + "/vm", kFolderMode));
    TRY_ASSIGN(ContainerTable table, ContainerTable::open(images.database()));
    return std::unique_ptr<Engine>(
        new Engine(std::move(options), images, launcher, std::move(table)));
}

Result<Container> Engine::record(ContainerConfig asked, std::string name, const ImageRef& image,
                                 std::optional<ContainerLock>& lock) {
    if (!name.empty()) {
        TRY(check_name(name));
    }
    Container container;
    TRY_ASSIGN(container.config, merge(std::move(asked), image.config));
    TRY(validate(container.config));
    TRY(machine_size(container.config.memory_bytes, container.config.nano_cpus));
    TRY_ASSIGN(container.id, random_id());
    container.name = std::move(name);
    container.image_id = image.id;
    container.created_at_ns = realtime_ns();
    container.step = Step::kCreating;

    TRY_ASSIGN(auto taken, ContainerLock::take(run_dir(container)));
    lock = std::move(taken);
    step("locked");
    // The folder comes before the row: garbage is found by folders that have no row.
    TRY(make_folders(options_.paths.container_dir(container.id), kPrivateMode));
    step("folder made");
    if (auto inserted = table_.insert(container); !inserted) {
        static_cast<void>(remove_files(container.id));  // the first error is the one that matters
        return std::move(inserted).error();
    }
    step("recorded");
    return container;
}

Status Engine::undo_create(const Container& container, Error why) {
    // Whatever of this fails too is left to a sweep.
    static_cast<void>(table_.remove(container.id));
    static_cast<void>(remove_files(container.id));
    return why;
}

Result<Container> Engine::create(ContainerConfig asked, std::string name) {
    ImageRef image;
    ImageRef disk;
    if (asked.from_checkpoint.empty()) {
        TRY_ASSIGN(image, images_.resolve(asked.image));
        TRY_ASSIGN(disk, take_live(image, asked));
    } else {
        TRY_ASSIGN(disk, take_checkpoint(asked));
        TRY_ASSIGN(image, images_.resolve(disk.id));
    }
    std::optional<ContainerLock> lock;
    TRY_ASSIGN(Container container, record(std::move(asked), std::move(name), image, lock));
    if (!container.config.read_only) {
        auto top = images_.create_top(container.id, disk);
        if (!top) return undo_create(container, std::move(top).error()).error();
    }
    step("top made");
    container.step = Step::kNone;
    TRY(table_.update(container));
    return container;
}

Result<Container> Engine::find(std::string_view query) {
    TRY_ASSIGN(Container container, table_.find(query));
    TRY_ASSIGN(auto settled, settle(std::move(container)));
    if (!settled) {
        return Error{ErrorCode::kNotFound, fmt::format("No such container: {}", query)};
    }
    return std::move(*settled);
}

Result<std::vector<Container>> Engine::of_image(std::string_view image_id) {
    return table_.of_image(image_id);
}

Status Engine::remove(std::string_view query, bool force) {
    TRY_ASSIGN(Container container, find(query));
    const Command command = force ? Command::kForceRemove : Command::kRemove;
    if (verdict(container.state, command) == Verdict::kRefuse) {
        return Error{ErrorCode::kConflict,
                     fmt::format("cannot remove container \"/{}\": container {}", container.name,
                                 refusal(container.state, command))};
    }
    TRY_ASSIGN(const auto lock, ContainerLock::take(run_dir(container)));
    TRY_ASSIGN(const bool lives, monitor_lives(run_dir(container)));
    if (lives) {
        if (!force) {
            // It has just ended, or another command has just started it.
            TRY_ASSIGN(const Container now, table_.by_id(container.id));
            if (has_machine(now.state)) {
                return Error{ErrorCode::kConflict,
                             fmt::format("cannot remove container \"/{}\": container {}", now.name,
                                         refusal(now.state, command))};
            }
        }
        TRY(force_end(container.id));
    }
    TRY(launcher_.release(container.id));
    step("ended");
    TRY(table_.remove(container.id));
    step("row removed");
    auto removed = remove_files(container.id);
    if (removed || removed.error().code != ErrorCode::kConflict) return removed;
    // The container is gone; who still has its disk open will be, too, and then a sweep removes it.
    log(LogLevel::kWarn, "container {}: {}", short_id(container.id), removed.error().message);
    return ok();
}

Status Engine::remove_files(const std::string& id) {
    TRY(images_.remove_top(id));
    step("top removed");
    std::error_code error;
    std::filesystem::remove_all(options_.paths.container_dir(id), error);
    if (error) return os_error("remove " + options_.paths.container_dir(id), error.value());
    step("folder removed");
    // The lock's file goes last; who waits for it sees that it is gone (ContainerLock::take).
    const std::string folder = options_.paths.run_dir(id);
    for (const char* name : {"/alive", "/control", "/lock"}) {
        std::filesystem::remove(folder + name, error);
    }
    std::filesystem::remove(folder, error);
    return ok();
}

}  // namespace drupe::engine
