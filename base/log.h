#pragma once

#include <fmt/core.h>

#include <atomic>
#include <cstdint>
#include <string_view>

namespace drupe {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarn, kError };

/// One line to standard error, "drupe-vmm[1]: warning: text". Thread-safe; one write(2) a line, cut
/// at 1 KiB.
void log_line(LogLevel level, std::string_view text);
void set_log_level(LogLevel lowest);
/// The program's name before each line; a string literal.
void set_log_program(const char* name);

template <class... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
    log_line(level, fmt::format(format, std::forward<Args>(args)...));
}

/// Bounds what one source (a guest, say) can write: the first `burst` lines pass, then one in each
/// power of two.
class LogLimit {
  public:
    explicit LogLimit(uint64_t burst = 8) : burst_(burst) {}
    /// Counts one event; true if it may be logged. Thread-safe.
    [[nodiscard]] bool pass() {
        const uint64_t n = count_.fetch_add(1, std::memory_order_relaxed) + 1;
        return n <= burst_ || (n & (n - 1)) == 0;
    }
    [[nodiscard]] uint64_t count() const { return count_.load(std::memory_order_relaxed); }

  private:
    uint64_t burst_;
    std::atomic<uint64_t> count_ = 0;
};

}  // namespace drupe
