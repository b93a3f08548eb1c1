#include "api/engine/status_text.h"

#include <fmt/format.h>

namespace drupe::engine {
namespace {

constexpr uint64_t kNano = 1'000'000'000;

std::string since(uint64_t then_ns, uint64_t now_ns) {
    return human_duration(now_ns > then_ns ? (now_ns - then_ns) / kNano : 0);
}

std::string up(const Container& c, uint64_t now_ns, std::string_view health) {
    std::string text = "Up " + since(c.started_at_ns, now_ns);
    if (c.state == State::kPaused) return text + " (Paused)";
    if (health.empty()) return text;
    return text + (health == "starting" ? " (health: starting)" : fmt::format(" ({})", health));
}

}  // namespace

std::string human_duration(uint64_t seconds) {
    constexpr uint64_t kMinute = 60;
    constexpr uint64_t kHour = 60 * kMinute;
    if (seconds < 1) return "Less than a second";
    if (seconds == 1) return "1 second";
    if (seconds < kMinute) return fmt::format("{} seconds", seconds);
    if (seconds < 2 * kMinute) return "About a minute";
    if (seconds < kHour) return fmt::format("{} minutes", seconds / kMinute);
    const uint64_t hours = (seconds + kHour / 2) / kHour;
    if (hours == 1) return "About an hour";
    if (hours < 48) return fmt::format("{} hours", hours);
    if (hours < 24 * 7 * 2) return fmt::format("{} days", hours / 24);
    if (hours < 24 * 30 * 2) return fmt::format("{} weeks", hours / 24 / 7);
    if (hours < 24 * 365 * 2) return fmt::format("{} months", hours / 24 / 30);
    return fmt::format("{} years", hours / 24 / 365);
}

std::string command_text(const ContainerConfig& config) {
    std::string text;
    for (const std::string& word : argv_of(config)) {
        const bool quoted = word.find(' ') != std::string::npos;
        text.append(text.empty() ? "" : " ").append(quoted ? "'" : "");
        text.append(word).append(quoted ? "'" : "");
    }
    return text;
}

std::string status_text(const Container& c, uint64_t now_ns, std::string_view health) {
    switch (c.state) {
        case State::kRunning:
        case State::kPaused:
            return up(c, now_ns, health);
        case State::kRestarting:
            return fmt::format("Restarting ({}) {} ago", c.exit_code,
                               since(c.finished_at_ns, now_ns));
        case State::kExited:
            return fmt::format("Exited ({}) {} ago", c.exit_code, since(c.finished_at_ns, now_ns));
        case State::kDead:
            return "Dead";
        case State::kCreated:
            break;
    }
    return "Created";
}

}  // namespace drupe::engine
