#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/engine/container.h"
#include "api/engine/engine.h"
#include "api/engine/images.h"
#include "imagefs/store/store.h"

namespace drupe::engine {

/// What an image occupies. A layer counts as shared if another image has it, too.
struct ImageUsage {
    ImageSummary image;
    uint64_t shared_bytes = 0;
    uint64_t unique_bytes = 0;
    size_t containers = 0;
};

/// What a container occupies by itself, beside its image.
struct ContainerUsage {
    Container container;
    uint64_t disk_bytes = 0;   ///< Its writable top.
    uint64_t log_bytes = 0;    ///< Its output.
    uint64_t other_bytes = 0;  ///< Exit record, monitor's and console's log, folder.

    [[nodiscard]] uint64_t total_bytes() const { return disk_bytes + log_bytes + other_bytes; }
};

[[nodiscard]] Result<ContainerUsage> container_usage(Container container, Images& images,
                                                     const Paths& paths);

/// All that is below $DRUPE_ROOT, as `du` counts it.
struct StorageReport {
    imagefs::DiskUsage disk;
    std::vector<ImageUsage> images;
    std::vector<ContainerUsage> containers;
    uint64_t reclaimable_layer_bytes = 0;  ///< Of images that no container needs.
};

[[nodiscard]] Result<StorageReport> storage_report(Images& images, Engine& engine);

struct SystemPruneReport {
    std::vector<std::string> containers;  ///< Ids.
    RemoveReport images;
    uint64_t reclaimed_bytes = 0;  ///< What `du` gives less of.
};
/// Removes containers that don't run, images without a name (`all`: those that no container needs),
/// and what crashes have left. Goes on when one of them can't be removed, and says so in the log.
[[nodiscard]] Result<SystemPruneReport> prune_system(Images& images, Engine& engine, bool all);

}  // namespace drupe::engine
