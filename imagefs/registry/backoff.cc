#include "imagefs/registry/backoff.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <thread>

namespace drupe::imagefs::registry {

bool is_transient(const Error& error) {
    return error.code == ErrorCode::kIo || error.code == ErrorCode::kLimit;
}

bool is_transient(unsigned status) {
    return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 ||
           status == 504;
}

uint64_t retry_after_of(const Headers& headers) {
    return parse_number(headers.get("Retry-After")).value_or(0);
}

bool Backoff::wait(uint64_t retry_after_s) {
    using std::chrono::milliseconds;
    if (++failures_ >= policy_.attempts) return false;
    const uint64_t doubled = uint64_t{policy_.first_delay_ms} << std::min(failures_ - 1, 16);
    const uint64_t delay = std::min<uint64_t>(doubled, policy_.max_delay_ms);
    std::random_device random;
    uint64_t wait_ms = delay / 2 + random() % (delay / 2 + 1);
    const uint64_t asked_ms = std::min<uint64_t>(retry_after_s, 1 << 20) * 1000;
    wait_ms = std::max(wait_ms, std::min<uint64_t>(asked_ms, policy_.max_retry_after_ms));
    const auto until = std::chrono::steady_clock::now() + milliseconds(wait_ms);
    while (std::chrono::steady_clock::now() < until) {
        if (stop_ != nullptr && stop_->load()) return false;
        const auto left = until - std::chrono::steady_clock::now();
        std::this_thread::sleep_for(
            std::min<std::chrono::steady_clock::duration>(left, milliseconds(50)));
    }
    return true;
}

}  // namespace drupe::imagefs::registry
