#include "guest-init/process_list.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <memory>

#include "base/fd.h"
#include "guest-init/users.h"

namespace drupe::init {
namespace {

using protocol::ProcessInfo;

constexpr size_t kMaxProcFile = 64 << 10;
constexpr size_t kMaxPasswd = 8 << 20;
constexpr uint64_t kRoomForRest = 256;  // of an encoded process beside its texts

template <class T>
bool read_number(std::string_view& text, T& out) {
    while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (error != std::errc()) return false;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    return true;
}

std::string file_of(uint32_t pid, const char* name) {
    auto text = read_file("/proc/" + std::to_string(pid) + "/" + name, kMaxProcFile);
    return text ? std::move(text).value() : std::string();
}

/// "Uid:\t0\t0\t0\t0" holds the real, then the effective one.
uint64_t status_value(std::string_view status, std::string_view key, int which) {
    const size_t at = status.find(key);
    if (at == std::string_view::npos) return 0;
    status.remove_prefix(at + key.size());
    uint64_t value = 0;
    for (int i = 0; i <= which; ++i)
        if (!read_number(status, value)) return 0;
    return value;
}

std::optional<ProcessInfo> read_process(uint32_t pid) {
    const auto ticks = static_cast<uint64_t>(::sysconf(_SC_CLK_TCK));
    const auto page_bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
    auto process = parse_process_stat(file_of(pid, "stat"), ticks, page_bytes);
    if (!process) return std::nullopt;
    const std::string status = file_of(pid, "status");
    process->uid = static_cast<uint32_t>(status_value(status, "\nUid:", 1));
    process->locked_bytes = status_value(status, "\nVmLck:", 0) << 10;
    process->arguments = join_arguments(file_of(pid, "cmdline"));
    return process;
}

std::vector<uint32_t> process_ids() {
    struct Close {
        void operator()(DIR* directory) const { ::closedir(directory); }
    };
    std::vector<uint32_t> ids;
    const std::unique_ptr<DIR, Close> proc(::opendir("/proc"));
    while (proc != nullptr) {
        const dirent* entry = ::readdir(proc.get());
        if (entry == nullptr) break;
        std::string_view name = entry->d_name;
        uint32_t pid = 0;
        if (read_number(name, pid) && name.empty()) ids.push_back(pid);
    }
    std::sort(ids.begin(), ids.end());
    return ids;
}

uint64_t now_ms(clockid_t clock) {
    timespec now{};
    (void)::clock_gettime(clock, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

/// Names of users, each looked up once.
class UserNames {
  public:
    UserNames() {
        auto text = read_file("/etc/passwd", kMaxPasswd);
        if (text) passwd_ = std::move(text).value();
    }
    const std::string& of(uint32_t uid) {
        const auto [it, added] = names_.try_emplace(uid);
        if (added) it->second = user_name(uid, passwd_);
        return it->second;
    }

  private:
    std::string passwd_;
    std::map<uint32_t, std::string> names_;
};

}  // namespace

std::optional<ProcessInfo> parse_process_stat(std::string_view text, uint64_t ticks,
                                              uint64_t page_bytes) {
    // A command may hold anything, parentheses too.
    const size_t open = text.find('(');
    const size_t close = text.rfind(')');
    if (open == std::string_view::npos || close == std::string_view::npos || close < open ||
        close + 3 > text.size())
        return std::nullopt;
    ProcessInfo out;
    out.command = text.substr(open + 1, close - open - 1);
    std::erase(out.command, '\0');
    std::string_view start = text.substr(0, open);
    if (!read_number(start, out.pid)) return std::nullopt;
    out.state = static_cast<uint8_t>(text[close + 2]);
    text.remove_prefix(close + 3);
    // The fields 4 to 24 of proc_pid_stat(5).
    constexpr size_t kFirst = 4;
    std::array<int64_t, 21> fields{};
    for (int64_t& field : fields)
        if (!read_number(text, field)) return std::nullopt;
    const auto at = [&](size_t number) { return fields[number - kFirst]; };
    const auto ms = [&](size_t number) {
        return static_cast<uint64_t>(at(number)) * 1000 / std::max<uint64_t>(ticks, 1);
    };
    out.parent = static_cast<uint32_t>(at(4));
    out.group = static_cast<uint32_t>(at(5));
    out.session = static_cast<uint32_t>(at(6));
    out.terminal = static_cast<uint32_t>(at(7));
    out.foreground_group = static_cast<int32_t>(at(8));
    out.cpu_ms = ms(14) + ms(15);
    out.nice = static_cast<int32_t>(at(19));
    out.threads = static_cast<uint32_t>(at(20));
    out.started_ms = ms(22);
    out.virtual_bytes = static_cast<uint64_t>(at(23));
    out.resident_bytes = static_cast<uint64_t>(at(24)) * page_bytes;
    return out;
}

std::string join_arguments(std::string_view cmdline) {
    while (cmdline.ends_with('\0')) cmdline.remove_suffix(1);
    std::string text(cmdline.substr(0, protocol::kMaxProcessTextBytes));
    std::replace(text.begin(), text.end(), '\0', ' ');
    return text;
}

protocol::ProcessList list_processes() {
    protocol::ProcessList list;
    struct sysinfo info {};
    if (::sysinfo(&info) == 0) list.memory_bytes = uint64_t{info.totalram} * info.mem_unit;
    list.uptime_ms = now_ms(CLOCK_BOOTTIME);
    list.realtime_ms = now_ms(CLOCK_REALTIME);
    UserNames users;
    const auto self = static_cast<uint32_t>(::getpid());
    uint64_t bytes = kRoomForRest;
    for (const uint32_t pid : process_ids()) {
        if (pid == self || list.processes.size() >= protocol::kMaxProcesses) continue;
        auto process = read_process(pid);
        if (!process) continue;
        process->user = users.of(process->uid);
        bytes += kRoomForRest + process->arguments.size() + process->command.size() +
                 process->user.size();
        if (bytes > protocol::kMaxProcessListBytes) break;
        list.processes.push_back(*std::move(process));
    }
    return list;
}

}  // namespace drupe::init
