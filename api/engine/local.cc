#include "api/engine/local.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "api/engine/jail_launcher.h"

namespace drupe::engine {

namespace {

/// A switch in the environment; unset it is on.
Result<bool> is_on(const char* name, std::string_view on, std::string_view off) {
    const char* const set = std::getenv(name);
    const std::string_view value = set != nullptr ? set : "";
    if (value.empty() || value == on) return true;
    if (value == off) return false;
    return Error{ErrorCode::kInvalid,
                 fmt::format("${} is neither \"{}\" nor \"{}\"", name, on, off)};
}

Result<bool> templates_wanted() {
    return is_on("DRUPE_BOOT", "template", "cold");
}

Result<bool> idle_memory_wanted() {
    return is_on("DRUPE_IDLE_MEMORY", "on", "off");
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
    TRY_ASSIGN(const bool idle_memory, idle_memory_wanted());
    local.launcher = make_standby_launcher(paths.standbys_dir(),
                                           make_jail_launcher(paths.root, idle_memory), standbys);
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
    const auto idle_memory = idle_memory_wanted();  // what is wrong with it, open_local() says
    return std::make_unique<Standbys>(
        std::move(options), make_jail_launcher(paths.root, idle_memory && idle_memory.value()));
}

}  // namespace drupe::engine
