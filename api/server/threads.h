#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

namespace drupe::http {

/// Threads that work off jobs. A job never waits for another to end: a thread is made if none is
/// idle. Idle ones end after a while. Any thread may call run().
class Threads {
  public:
    struct Options {
        size_t max = 0;  ///< Of threads at one time.
        std::chrono::milliseconds idle{5000};
        /// Called as the last idle thread ends: at most once in the time `idle`.
        std::function<void()> on_quiet = &give_memory_back;
    };
    explicit Threads(Options options);
    explicit Threads(size_t max) : Threads(Options{.max = max}) {}
    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;
    /// Waits for the jobs' ends.
    ~Threads();

    /// False: there are max at work already.
    [[nodiscard]] bool run(std::function<void()> job);
    /// Jobs that are being done.
    [[nodiscard]] size_t busy() const;

  private:
    /// What a burst of requests has freed goes back to the kernel.
    static void give_memory_back();

    struct State;
    static void* work(void* state);
    std::shared_ptr<State> state_;
};

}  // namespace drupe::http
