// open_local() for tests: real images, monitors that are only played (engine/testing/fakes.h).

#include "api/engine/local.h"
#include "api/engine/testing/fakes.h"

namespace drupe::engine {

Result<Local> open_local(Standbys* /*standbys*/, VerifiedFiles* verified) {
    TRY_ASSIGN(Paths paths, find_paths());
    // Any file will do for what only a real monitor looks into.
    paths.kvm = "/dev/null";
    paths.monitor = DRUPE_FAKE_MONITOR;
    paths.initrd = paths.kernel = "/proc/self/exe";  // a regular one
    Local local;
    TRY_ASSIGN(local.images, Images::open(paths));
    auto launcher = std::make_unique<testing::FakeLauncher>();
    launcher->runs_program = true;
    local.launcher = std::move(launcher);
    Engine::Options options;
    options.paths = std::move(paths);
    options.verified = verified;
    TRY_ASSIGN(local.engine, Engine::open(std::move(options), *local.images, *local.launcher));
    return local;
}

std::unique_ptr<Standbys> make_standbys(const Paths& /*paths*/, size_t /*wanted*/) {
    return nullptr;
}

}  // namespace drupe::engine
