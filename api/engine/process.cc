#include "api/engine/process.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>

#include "base/fd.h"

namespace drupe::engine {
namespace {

/// The first number of a line of /proc/PID/status.
std::optional<uint64_t> status_number(pid_t pid, std::string_view name) {
    if (pid <= 0) return std::nullopt;
    const auto text = read_file(fmt::format("/proc/{}/status", pid), 16384);
    const std::string key = fmt::format("\n{}:", name);
    const size_t at = text ? text.value().find(key) : std::string::npos;
    if (at == std::string::npos) return std::nullopt;
    std::string_view rest(text.value());
    rest.remove_prefix(at + key.size());
    rest.remove_prefix(std::min(rest.find_first_not_of("\t "), rest.size()));
    uint64_t number = 0;
    std::from_chars(rest.data(), rest.data() + rest.size(), number);
    return number;
}

}  // namespace

uint64_t process_start_ticks(pid_t pid) {
    if (pid <= 0) return 0;
    const auto text = read_file(fmt::format("/proc/{}/stat", pid), 4096);
    if (!text) return 0;
    // The program's name, in parentheses, may hold anything; fields count from after it.
    std::string_view rest = text.value();
    const size_t close = rest.rfind(')');
    if (close == std::string_view::npos) return 0;
    rest.remove_prefix(close + 1);
    constexpr int kFieldsBetween = 20;  // 3 to 22
    for (int i = 0; i < kFieldsBetween; ++i) {
        const size_t space = rest.find(' ');
        if (space == std::string_view::npos) return 0;
        rest.remove_prefix(space + 1);
    }
    uint64_t ticks = 0;
    std::from_chars(rest.data(), rest.data() + rest.size(), ticks);
    return ticks;
}

std::optional<uint32_t> process_user(pid_t pid) {
    const auto user = status_number(pid, "Uid");
    return user ? std::optional(static_cast<uint32_t>(*user)) : std::nullopt;
}

uint64_t process_file_bytes(pid_t pid) {
    constexpr uint64_t kKib = 1024;
    return status_number(pid, "RssFile").value_or(0) * kKib;
}

pid_t peer_pid(int socket) {
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) return 0;
    return credentials.pid;
}

}  // namespace drupe::engine
