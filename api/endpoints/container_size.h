#pragma once

#include "api/endpoints/call.h"
#include "api/engine/storage.h"

namespace drupe::endpoints {

/// SizeRw and SizeRootFs: what a container takes itself, and with its image.
inline void add_size(Json& json, const engine::Container& c, engine::Images& images,
                     const engine::Paths& paths) {
    const auto usage = container_usage(c, images, paths);
    const auto image = images.size_of(c.image_id);  // none: it was removed by force
    const uint64_t own = usage ? usage.value().disk_bytes : 0;
    json["SizeRw"] = own;
    json["SizeRootFs"] = own + (image ? image.value() : 0);
}

}  // namespace drupe::endpoints
