#include "api/engine/local.h"

#include <unistd.h>

#include "api/engine/jail_launcher.h"

namespace drupe::engine {

Result<Local> open_local() {
    TRY_ASSIGN(Paths paths, find_paths());
    if (::geteuid() != 0) {
        return Error{ErrorCode::kDenied,
                     "drupe has to be run as root: it gives each machine a user, namespaces and a "
                     "cgroup of its own"};
    }
    Local local;
    TRY_ASSIGN(local.images, Images::open(paths));
    local.launcher = make_jail_launcher(paths.root);
    Engine::Options options;
    options.paths = std::move(paths);
    TRY_ASSIGN(local.engine, Engine::open(std::move(options), *local.images, *local.launcher));
    return local;
}

}  // namespace drupe::engine
