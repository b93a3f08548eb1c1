#include "api/daemon/engine_pool.h"

namespace drupe::daemon {

Result<EnginePool::Lease> EnginePool::borrow() {
    std::unique_ptr<engine::Local> local;
    {
        const MutexLock lock(mutex_);
        if (!idle_.empty()) {
            local = std::move(idle_.back());
            idle_.pop_back();
        }
    }
    if (!local) {
        TRY_ASSIGN(engine::Local opened, engine::open_local(standbys_, &verified_));
        local = std::make_unique<engine::Local>(std::move(opened));
    }
    return Lease(*this, std::move(local));
}

void EnginePool::give_back(std::unique_ptr<engine::Local> local) {
    const MutexLock lock(mutex_);
    if (idle_.size() < kMaxIdle) idle_.push_back(std::move(local));
}

}  // namespace drupe::daemon
