#pragma once

#include <memory>
#include <vector>

#include "api/engine/local.h"
#include "base/mutex.h"

namespace drupe::daemon {

/// Engines on one $DRUPE_ROOT, each for one thread at a time: an engine is a library without
/// threads, and any number may use the same root. Any thread.
class EnginePool {
  public:
    /// standbys: taken by starts; null: there are none.
    explicit EnginePool(engine::Standbys* standbys = nullptr) : standbys_(standbys) {}

    /// An engine of one's own until the lease ends.
    class Lease {
      public:
        Lease(EnginePool& pool, std::unique_ptr<engine::Local> local)
            : pool_(&pool), local_(std::move(local)) {}
        Lease(Lease&& other) noexcept = default;
        Lease& operator=(Lease&& other) = delete;
        ~Lease() {
            if (local_) pool_->give_back(std::move(local_));
        }
        [[nodiscard]] engine::Engine& engine() const { return *local_->engine; }
        [[nodiscard]] engine::Images& images() const { return *local_->images; }
        [[nodiscard]] engine::Engine* operator->() const { return local_->engine.get(); }

      private:
        EnginePool* pool_;
        std::unique_ptr<engine::Local> local_;
    };

    [[nodiscard]] Result<Lease> borrow() DRUPE_EXCLUDES(mutex_);

  private:
    static constexpr size_t kMaxIdle = 4;  ///< More are closed: each has a database's caches.
    void give_back(std::unique_ptr<engine::Local> local) DRUPE_EXCLUDES(mutex_);

    engine::Standbys* standbys_;
    engine::VerifiedFiles verified_;
    Mutex mutex_;
    std::vector<std::unique_ptr<engine::Local>> idle_ DRUPE_GUARDED_BY(mutex_);
};

}  // namespace drupe::daemon
