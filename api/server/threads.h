#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace drupe::http {

/// Threads that work off jobs. A job never waits for another to end: a thread is made if none is
/// idle. Idle ones end after a while. Any thread may call run().
class Threads {
  public:
    /// max: of threads at one time.
    explicit Threads(size_t max);
    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;
    /// Waits for the jobs' ends.
    ~Threads();

    /// False: there are max at work already.
    [[nodiscard]] bool run(std::function<void()> job);
    /// Jobs that are being done.
    [[nodiscard]] size_t busy() const;

  private:
    struct State;
    static void* work(void* state);
    std::shared_ptr<State> state_;
};

}  // namespace drupe::http
