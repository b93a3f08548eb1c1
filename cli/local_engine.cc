#include "cli/local_engine.h"

namespace drupe::cli {

Result<engine::Local*> open_engine() {
    static engine::Local* local = nullptr;
    TRY_ASSIGN(engine::Local opened, engine::open_local());
    local = new engine::Local(std::move(opened));
    return local;
}

}  // namespace drupe::cli
