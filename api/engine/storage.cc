#include "api/engine/storage.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "api/engine/log_reader.h"
#include "base/log.h"
#include "imagefs/store/store_files.h"

namespace drupe::engine {
namespace {

using imagefs::ChainId;
using imagefs::LayerRecord;
using imagefs::SeenFiles;

bool runs(const Container& container) {
    return container.state == State::kRunning || container.state == State::kPaused ||
           container.state == State::kRestarting;
}

/// The layers of each image, and how many images have each.
struct Layers {
    std::map<std::string, std::vector<LayerRecord>> of_image;  ///< By the image's id.
    std::map<ChainId, size_t> users;
};

Result<Layers> layers_of(imagefs::Store& store) {
    Layers layers;
    TRY_ASSIGN(const std::vector<imagefs::Image> images, store.list_images());
    for (const imagefs::Image& image : images) {
        TRY_ASSIGN(std::vector<LayerRecord> chain, store.chain(image.chain_id));
        for (const LayerRecord& layer : chain) ++layers.users[layer.chain_id];
        layers.of_image.emplace(image.id.to_string(), std::move(chain));
    }
    return layers;
}

}  // namespace

Result<ContainerUsage> container_usage(Container container, Images& images, const Paths& paths) {
    ContainerUsage usage;
    SeenFiles seen;
    TRY_ASSIGN(usage.disk_bytes,
               imagefs::tree_bytes(images.store().root() + "/tops/" + container.id, seen));
    for (size_t i = 0; i < LogReader::kMaxFiles; ++i) {
        const std::string path = log_file_name(paths.log_file(container.id), i);
        TRY_ASSIGN(const uint64_t bytes, imagefs::tree_bytes(path, seen));
        usage.log_bytes += bytes;
    }
    TRY_ASSIGN(usage.other_bytes, imagefs::tree_bytes(paths.container_dir(container.id), seen));
    usage.other_bytes -= std::min(usage.other_bytes, usage.log_bytes);
    usage.container = std::move(container);
    return usage;
}

Result<StorageReport> storage_report(Images& images, Engine& engine) {
    StorageReport report;
    TRY_ASSIGN(const std::vector<Container> containers, engine.list());
    TRY_ASSIGN(const Layers layers, layers_of(images.store()));
    TRY_ASSIGN(std::vector<ImageSummary> summaries, images.list());
    std::set<ChainId> needed;
    std::set<ChainId> all;
    for (ImageSummary& summary : summaries) {
        ImageUsage usage;
        usage.containers = static_cast<size_t>(
            std::count_if(containers.begin(), containers.end(),
                          [&](const Container& c) { return c.image_id == summary.id; }));
        const auto found = layers.of_image.find(summary.id);
        if (found == layers.of_image.end()) continue;  // removed meanwhile
        for (const LayerRecord& layer : found->second) {
            const bool shared = layers.users.at(layer.chain_id) > 1;
            (shared ? usage.shared_bytes : usage.unique_bytes) += layer.size_bytes;
            if (usage.containers > 0) needed.insert(layer.chain_id);
            if (usage.containers == 0 && all.insert(layer.chain_id).second) {
                report.reclaimable_layer_bytes += layer.size_bytes;
            }
        }
        usage.image = std::move(summary);
        report.images.push_back(std::move(usage));
    }
    for (const auto& [id, chain] : layers.of_image) {
        for (const LayerRecord& layer : chain) {
            if (needed.contains(layer.chain_id) && all.erase(layer.chain_id) != 0) {
                report.reclaimable_layer_bytes -= layer.size_bytes;
            }
        }
    }
    for (const Container& container : containers) {
        TRY_ASSIGN(ContainerUsage usage, container_usage(container, images, engine.paths()));
        report.containers.push_back(std::move(usage));
    }
    TRY_ASSIGN(report.disk, images.store().disk_usage());
    return report;
}

Result<SystemPruneReport> prune_system(Images& images, Engine& engine, bool all) {
    SystemPruneReport report;
    TRY_ASSIGN(const imagefs::DiskUsage before, images.store().disk_usage());
    TRY_ASSIGN(const std::vector<Container> containers, engine.list());
    for (const Container& container : containers) {
        if (runs(container)) continue;
        if (Status removed = engine.remove(container.id, false); removed) {
            report.containers.push_back(container.id);
        } else if (removed.error().code != ErrorCode::kNotFound) {
            log(LogLevel::kWarn, "{}", removed.error().message);
        }
    }
    TRY_ASSIGN(const std::vector<ImageSummary> summaries, images.list());
    for (const ImageSummary& image : summaries) {
        if (!all && !image.references.empty()) continue;
        TRY_ASSIGN(const std::vector<Container> users, engine.of_image(image.id));
        if (!users.empty()) continue;
        const auto free = [](const std::string&) -> Result<std::vector<ImageUser>> {
            return std::vector<ImageUser>();
        };
        if (auto removed = images.remove(image.id, true, free); removed) {
            report.images.insert(report.images.end(), removed.value().begin(),
                                 removed.value().end());
        } else {
            log(LogLevel::kWarn, "{}", removed.error().message);
        }
    }
    TRY(engine.sweep());  // the memory of images that aren't there any more
    TRY(images.store().prune());
    TRY_ASSIGN(const imagefs::DiskUsage after, images.store().disk_usage());
    report.reclaimed_bytes =
        before.total_bytes > after.total_bytes ? before.total_bytes - after.total_bytes : 0;
    return report;
}

}  // namespace drupe::engine
