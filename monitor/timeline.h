#pragma once

#include <cstdint>
#include <ctime>
#include <map>
#include <string>

namespace drupe {

/// When a machine reached which point: CLOCK_MONOTONIC nanoseconds by name. The first time counts.
class Timeline {
  public:
    [[nodiscard]] static uint64_t now_ns(clockid_t clock = CLOCK_MONOTONIC) {
        timespec time{};
        ::clock_gettime(clock, &time);
        return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 +
               static_cast<uint64_t>(time.tv_nsec);
    }
    void mark(const char* name) { marks_.try_emplace(name, now_ns()); }
    void mark_at(const char* name, uint64_t ns) {
        if (ns != 0) marks_.try_emplace(name, ns);
    }
    /// What was before belongs to nobody.
    void restart() { marks_.clear(); }
    [[nodiscard]] const std::map<std::string, uint64_t>& marks() const { return marks_; }

  private:
    std::map<std::string, uint64_t> marks_;
};

}  // namespace drupe
