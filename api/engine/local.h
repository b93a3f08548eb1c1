#pragma once

#include <memory>

#include "api/engine/engine.h"
#include "api/engine/images.h"
#include "api/engine/launcher.h"
#include "api/engine/standbys.h"

namespace drupe::engine {

/// The engine with its real parts, in this process: what druped and tests drive.
struct Local {
    std::unique_ptr<Images> images;
    std::unique_ptr<MonitorLauncher> launcher;
    std::unique_ptr<Engine> engine;
};

/// At the places that the environment names. With machines that wait for containers and what is
/// known of files, if there are any; they outlive it.
[[nodiscard]] Result<Local> open_local(Standbys* standbys = nullptr,
                                       VerifiedFiles* verified = nullptr);

/// Machines that wait for containers, `wanted` of each shape.
[[nodiscard]] std::unique_ptr<Standbys> make_standbys(const Paths& paths, size_t wanted);

}  // namespace drupe::engine
