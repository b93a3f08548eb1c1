#pragma once

#include <map>
#include <string>

#include "api/daemon/events.h"
#include "api/engine/container.h"

namespace drupe::daemon {

/// An event of a container's, with its image, its name and its labels, as Docker's have.
[[nodiscard]] inline Event container_event(const engine::Container& container, std::string action,
                                           const std::map<std::string, std::string>& more = {}) {
    Event event{"container", std::move(action), container.id, container.config.labels, 0};
    event.attributes["image"] = container.config.image;
    event.attributes["name"] = container.name;
    for (const auto& [name, value] : more) event.attributes[name] = value;
    return event;
}

}  // namespace drupe::daemon
