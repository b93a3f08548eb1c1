#include "api/server/threads.h"

#include <malloc.h>
#include <pthread.h>

#include <condition_variable>
#include <deque>
#include <mutex>

namespace drupe::http {
namespace {

constexpr size_t kStackBytes = 512 << 10;

}  // namespace

struct Threads::State {
    explicit State(Options chosen) : options(std::move(chosen)) {}

    const Options options;
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::function<void()>> jobs;
    size_t idle = 0;
    size_t threads = 0;
    bool ending = false;
};

Threads::Threads(Options options) : state_(std::make_shared<State>(std::move(options))) {}

Threads::~Threads() {
    std::unique_lock lock(state_->mutex);
    state_->ending = true;
    state_->changed.notify_all();
    state_->changed.wait(lock, [&] { return state_->threads == 0; });
}

void* Threads::work(void* argument) {
    const std::unique_ptr<std::shared_ptr<State>> held(
        static_cast<std::shared_ptr<State>*>(argument));
    State& state = **held;
    std::unique_lock lock(state.mutex);
    for (;;) {
        if (state.jobs.empty()) {
            ++state.idle;
            const bool woken = state.changed.wait_for(
                lock, state.options.idle, [&] { return !state.jobs.empty() || state.ending; });
            --state.idle;
            if (state.jobs.empty() && (!woken || state.ending)) break;
        }
        std::function<void()> job = std::move(state.jobs.front());
        state.jobs.pop_front();
        lock.unlock();
        job();
        job = nullptr;
        lock.lock();
    }
    if (state.idle == 0 && !state.ending) {
        lock.unlock();
        state.options.on_quiet();
        lock.lock();
    }
    --state.threads;
    state.changed.notify_all();
    return nullptr;
}

bool Threads::run(std::function<void()> job) {
    const std::scoped_lock lock(state_->mutex);
    if (state_->ending) return false;
    if (state_->idle > state_->jobs.size()) {
        state_->jobs.push_back(std::move(job));
        state_->changed.notify_one();
        return true;
    }
    if (state_->threads >= state_->options.max) return false;
    pthread_attr_t attributes;
    ::pthread_attr_init(&attributes);
    ::pthread_attr_setstacksize(&attributes, kStackBytes);
    ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    auto held = std::make_unique<std::shared_ptr<State>>(state_);
    pthread_t thread{};
    const int error = ::pthread_create(&thread, &attributes, &Threads::work, held.get());
    ::pthread_attr_destroy(&attributes);
    if (error != 0) return false;
    static_cast<void>(held.release());  // the thread's
    ++state_->threads;
    state_->jobs.push_back(std::move(job));
    return true;
}

void Threads::give_memory_back() {
    static_cast<void>(::malloc_trim(0));
}

size_t Threads::busy() const {
    const std::scoped_lock lock(state_->mutex);
    return state_->threads - state_->idle;
}

}  // namespace drupe::http
