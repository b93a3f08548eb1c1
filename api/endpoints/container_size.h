#pragma once

#include "api/endpoints/call.h"
#include "api/engine/storage.h"

namespace drupe::endpoints {

/// SizeRw and SizeRootFs: what a container takes itself, and with its image.
inline void add_size(Json& json, const engine::Container& c, engine::Images& images,
                     const engine::Paths& paths) {
    const auto usage = container_usage(c, images, paths);
    const auto all = images.list();
    const uint64_t own = usage ? usage.value().disk_bytes : 0;
    uint64_t image_bytes = 0;
    for (const auto& image : all ? all.value() : std::vector<engine::ImageSummary>()) {
        if (image.id == c.image_id) image_bytes = image.size_bytes;
    }
    json["SizeRw"] = own;
    json["SizeRootFs"] = own + image_bytes;
}

}  // namespace drupe::endpoints
