#pragma once

#include <memory>

#include "api/engine/engine.h"
#include "api/engine/images.h"
#include "api/engine/launcher.h"

namespace drupe::engine {

/// The engine with its real parts, in this process: what druped and tests drive.
struct Local {
    std::unique_ptr<Images> images;
    std::unique_ptr<MonitorLauncher> launcher;
    std::unique_ptr<Engine> engine;
};

/// At the places that the environment names.
[[nodiscard]] Result<Local> open_local();

}  // namespace drupe::engine
