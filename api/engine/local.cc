#include "api/engine/local.h"

#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "api/engine/jail_launcher.h"

namespace drupe::engine {

namespace {

Result<bool> templates_wanted() {
    const char* const boot = std::getenv("DRUPE_BOOT");
    const std::string_view value = boot != nullptr ? boot : "";
    if (value.empty() || value == "template") return true;
    if (value == "cold") return false;
    return Error{ErrorCode::kInvalid, "$DRUPE_BOOT is neither \"template\" nor \"cold\""};
}

}  // namespace

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
    TRY_ASSIGN(options.templates, templates_wanted());
    TRY_ASSIGN(local.engine, Engine::open(std::move(options), *local.images, *local.launcher));
    return local;
}

}  // namespace drupe::engine
