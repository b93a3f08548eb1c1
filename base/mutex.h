#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define DRUPE_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define DRUPE_THREAD_ANNOTATION(x)
#endif

/// On a member: only touched with the mutex held. On a function: called with it held, or not held.
/// clang checks them (-Wthread-safety); gcc ignores them.
#define DRUPE_GUARDED_BY(mutex) DRUPE_THREAD_ANNOTATION(guarded_by(mutex))
#define DRUPE_REQUIRES(...) DRUPE_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define DRUPE_EXCLUDES(...) DRUPE_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))

namespace drupe {

/// std::mutex with the annotations that libstdc++'s lacks.
class DRUPE_THREAD_ANNOTATION(capability("mutex")) Mutex {
  public:
    void lock() DRUPE_THREAD_ANNOTATION(acquire_capability()) { mutex_.lock(); }
    void unlock() DRUPE_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }

  private:
    friend class Condition;
    std::mutex mutex_;
};

class DRUPE_THREAD_ANNOTATION(scoped_lockable) MutexLock {
  public:
    explicit MutexLock(Mutex& mutex) DRUPE_THREAD_ANNOTATION(acquire_capability(mutex))
        : mutex_(mutex) {
        mutex_.lock();
    }
    ~MutexLock() DRUPE_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }
    MutexLock(const MutexLock&) = delete;
    MutexLock& operator=(const MutexLock&) = delete;

  private:
    Mutex& mutex_;
};

/// A condition variable for a Mutex: wait in a loop around the condition.
class Condition {
  public:
    void wait(Mutex& mutex) DRUPE_REQUIRES(mutex) {
        std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
        condition_.wait(lock);
        lock.release();
    }
    /// Returns when notified, or when the time has passed.
    void wait_for(Mutex& mutex, std::chrono::nanoseconds time) DRUPE_REQUIRES(mutex) {
        std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
        condition_.wait_for(lock, time);
        lock.release();
    }
    void notify_all() { condition_.notify_all(); }

  private:
    std::condition_variable condition_;
};

}  // namespace drupe
