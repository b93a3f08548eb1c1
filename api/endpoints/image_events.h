#pragma once

#include <string>

#include "api/daemon/daemon.h"

namespace drupe::endpoints {

/// An event of an image's: "pull", "push", "tag", "untag", "delete", "load", "import", "save".
inline void publish_image(daemon::Daemon& daemon, std::string action, std::string id,
                          const std::string& name) {
    daemon.events.publish({"image", std::move(action), std::move(id), {{"name", name}}, 0});
}

}  // namespace drupe::endpoints
