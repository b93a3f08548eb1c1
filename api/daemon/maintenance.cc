#include "api/daemon/maintenance.h"

#include <sys/resource.h>
#include <unistd.h>

#include <system_error>

#include "base/log.h"

namespace drupe::daemon {
namespace {

/// Below everybody's, but not for ever: it has locks that seals wait for.
constexpr int kLowPriority = 10;

Status maintain(EnginePool& engines) {
    TRY_ASSIGN(auto engine, engines.borrow());
    return engine.images().store().maintain(/*wait=*/true);
}

}  // namespace

Maintenance::~Maintenance() {
    std::thread worker;
    {
        const MutexLock lock(mutex_);
        asked_ = false;
        worker = std::move(worker_);
    }
    if (worker.joinable()) worker.join();
}

void Maintenance::ask() {
    const MutexLock lock(mutex_);
    asked_ = true;
    if (working_) return;
    if (worker_.joinable()) worker_.join();  // it has seen that there is nothing to do
    try {
        worker_ = std::thread([this] { work(); });
        working_ = true;
    } catch (const std::system_error& error) {  // the next one asks again
        log(LogLevel::kWarn, "no thread to compact the store: {}", error.what());
    }
}

void Maintenance::work() {
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kLowPriority);
    for (;;) {
        {
            const MutexLock lock(mutex_);
            working_ = asked_;
            asked_ = false;
            if (!working_) return;
        }
        if (auto done = maintain(engines_); !done) {
            log(LogLevel::kWarn, "compact the store: {}", done.error().message);
        }
    }
}

}  // namespace drupe::daemon
