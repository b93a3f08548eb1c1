#include "base/log.h"

#include <unistd.h>

#include <array>

namespace drupe {
namespace {

constexpr size_t kMaxLine = 1024;
std::atomic<LogLevel> lowest_level = LogLevel::kInfo;
std::atomic<const char*> program = "drupe";

const char* name(LogLevel level) {
    switch (level) {
        case LogLevel::kDebug:
            return "debug: ";
        case LogLevel::kInfo:
            return "";
        case LogLevel::kWarn:
            return "warning: ";
        case LogLevel::kError:
            return "error: ";
    }
    return "";
}

}  // namespace

void log_line(LogLevel level, std::string_view text) {
    if (level < lowest_level.load(std::memory_order_relaxed)) return;
    std::array<char, kMaxLine> line;
    const auto end = fmt::format_to_n(line.data(), line.size() - 1, "{}: {}{}", program.load(),
                                      name(level), text);
    *end.out = '\n';
    const auto length = static_cast<size_t>(end.out - line.data()) + 1;
    [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, line.data(), length);
}

void set_log_level(LogLevel lowest) {
    lowest_level = lowest;
}
void set_log_program(const char* name) {
    program = name;
}

}  // namespace drupe
