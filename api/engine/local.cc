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

Result<Local> open_local(Standbys* standbys, VerifiedFiles* verified) {
    TRY_ASSIGN(Paths paths, find_paths());
    if (::geteuid() != 0) {
        return Error{ErrorCode::kDenied,
                     "drupe has to be run as root: it gives each machine a user, namespaces and a "
                     "cgroup of its own"};
    }
    Local local;
    TRY_ASSIGN(local.images, Images::open(paths));
    local.launcher =
        make_standby_launcher(paths.standbys_dir(), make_jail_launcher(paths.root), standbys);
    Engine::Options options;
    options.paths = std::move(paths);
    TRY_ASSIGN(options.templates, templates_wanted());
    options.verified = verified;
    TRY_ASSIGN(local.engine, Engine::open(std::move(options), *local.images, *local.launcher));
    return local;
}

std::unique_ptr<Standbys> make_standbys(const Paths& paths, size_t wanted) {
    Standbys::Options options;
    options.folder = paths.standbys_dir();
    options.for_each_shape = wanted;
    return std::make_unique<Standbys>(std::move(options), make_jail_launcher(paths.root));
}

}  // namespace drupe::engine
