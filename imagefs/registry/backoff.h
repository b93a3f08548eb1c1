#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "imagefs/registry/http_client.h"

namespace drupe::imagefs::registry {

/// How often and how fast something is tried again.
struct RetryPolicy {
    int attempts = 6;  ///< In a row without progress, the first included.
    uint32_t first_delay_ms = 500;
    uint32_t max_delay_ms = 15'000;
    uint32_t max_retry_after_ms = 60'000;  ///< What a server may ask for.
};

/// Whether it makes sense to ask again: the network's errors, and 408, 429, 500, 502, 503, 504.
[[nodiscard]] bool is_transient(const Error& error);
[[nodiscard]] bool is_transient(unsigned status);

/// Delays that double, with jitter (half to whole), between attempts. One operation's; one thread.
class Backoff {
  public:
    Backoff(const RetryPolicy& policy, const std::atomic<bool>* stop)
        : policy_(policy), stop_(stop) {}
    /// Waits before the next attempt; false: no more of them (or told to stop). retry_after_s: what
    /// the server asks for, 0 if nothing.
    [[nodiscard]] bool wait(uint64_t retry_after_s = 0);
    /// Something was achieved: as after the first failure.
    void progress() { failures_ = 0; }

  private:
    const RetryPolicy& policy_;
    const std::atomic<bool>* stop_;
    int failures_ = 0;
};

/// The seconds of a Retry-After header; 0 if there are none (dates are taken for none).
[[nodiscard]] uint64_t retry_after_of(const Headers& headers);

}  // namespace drupe::imagefs::registry
