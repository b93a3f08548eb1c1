#include "api/engine/process_table.h"

#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <optional>

namespace drupe::engine {
namespace {

using protocol::ProcessInfo;
using protocol::ProcessList;

constexpr uint64_t kDayMs = 24 * 3600 * 1000;

std::string hours(uint64_t seconds, bool with_days) {
    const uint64_t days = seconds / 86400;
    const uint64_t rest = seconds % 86400;
    std::string text = fmt::format("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    return days != 0 && with_days ? fmt::format("{}-{}", days, text) : text;
}

uint64_t age_ms(const ProcessInfo& p, const ProcessList& list) {
    return list.uptime_ms > p.started_ms ? list.uptime_ms - p.started_ms : 0;
}

std::string user(const ProcessInfo& p, const ProcessList& /*list*/) {
    return p.user.empty() ? std::to_string(p.uid) : p.user;
}
std::string uid(const ProcessInfo& p, const ProcessList& /*list*/) {
    return std::to_string(p.uid);
}
std::string pid(const ProcessInfo& p, const ProcessList& /*list*/) {
    return std::to_string(p.pid);
}
std::string ppid(const ProcessInfo& p, const ProcessList& /*list*/) {
    return std::to_string(p.parent);
}
std::string pgid(const ProcessInfo& p, const ProcessList& /*list*/) {
    return std::to_string(p.group);
}
std::string sid(const ProcessInfo& p, const ProcessList& /*list*/) {
    return std::to_string(p.session);
}
std::string nice(const ProcessInfo& p, const ProcessList& /*list*/) {
    return std::to_string(p.nice);
}
std::string threads(const ProcessInfo& p, const ProcessList& /*list*/) {
    return std::to_string(p.threads);
}
std::string command(const ProcessInfo& p, const ProcessList& /*list*/) {
    return p.state == 'Z' ? p.command + " <defunct>" : p.command;
}
std::string arguments(const ProcessInfo& p, const ProcessList& list) {
    if (!p.arguments.empty()) return p.arguments;
    return p.state == 'Z' ? "[" + p.command + "] <defunct>" : "[" + command(p, list) + "]";
}

/// In thousandths of one CPU, over its life; as ps does.
uint64_t cpu_permille(const ProcessInfo& p, const ProcessList& list) {
    const uint64_t age = age_ms(p, list);
    constexpr uint64_t kMost = 999'900;
    return age == 0 ? 0 : std::min<uint64_t>(p.cpu_ms * 1000 / age, kMost);
}
std::string cpu(const ProcessInfo& p, const ProcessList& list) {
    const uint64_t permille = cpu_permille(p, list);
    return fmt::format("{}.{}", permille / 10, permille % 10);
}
std::string cpu_short(const ProcessInfo& p, const ProcessList& list) {
    return std::to_string(std::min<uint64_t>(cpu_permille(p, list) / 10, 99));
}
std::string memory(const ProcessInfo& p, const ProcessList& list) {
    const double share = list.memory_bytes == 0 ? 0
                                                : 100.0 * static_cast<double>(p.resident_bytes) /
                                                      static_cast<double>(list.memory_bytes);
    return fmt::format("{:.1f}", std::min(share, 100.0));
}
std::string resident(const ProcessInfo& p, const ProcessList& /*list*/) {
    return std::to_string(p.resident_bytes >> 10);
}
std::string virtual_size(const ProcessInfo& p, const ProcessList& /*list*/) {
    return std::to_string(p.virtual_bytes >> 10);
}

std::string terminal(const ProcessInfo& p, const ProcessList& /*list*/) {
    if (p.terminal == 0) return "?";
    // As the kernel packs it for /proc.
    const unsigned major_number = p.terminal >> 8 & 0xfff;
    const unsigned minor_number = (p.terminal & 0xff) | (p.terminal >> 12 & 0xfff00);
    constexpr unsigned kFirstPts = 136;
    constexpr unsigned kLastPts = 143;
    if (major_number >= kFirstPts && major_number <= kLastPts) {
        return fmt::format("pts/{}", (major_number - kFirstPts) * 256 + minor_number);
    }
    return major_number == 4 ? fmt::format("tty{}", minor_number) : "tty";
}

std::string state(const ProcessInfo& p, const ProcessList& /*list*/) {
    std::string text(1, static_cast<char>(p.state));
    if (p.nice < 0) text += '<';
    if (p.nice > 0) text += 'N';
    if (p.locked_bytes != 0) text += 'L';
    if (p.session == p.pid) text += 's';
    if (p.threads > 1) text += 'l';
    if (p.foreground_group >= 0 && static_cast<uint32_t>(p.foreground_group) == p.group)
        text += '+';
    return text;
}

std::string elapsed(const ProcessInfo& p, const ProcessList& list) {
    const uint64_t seconds = age_ms(p, list) / 1000;
    if (seconds < 3600) return fmt::format("{:02}:{:02}", seconds / 60, seconds % 60);
    return hours(seconds, true);
}
std::string time_used(const ProcessInfo& p, const ProcessList& /*list*/) {
    return hours(p.cpu_ms / 1000, true);
}
std::string time_short(const ProcessInfo& p, const ProcessList& /*list*/) {
    const uint64_t seconds = p.cpu_ms / 1000;
    return fmt::format("{}:{:02}", seconds / 60, seconds % 60);
}

/// "14:05" of the same day, "Nov26" of an earlier one.
std::string started(const ProcessInfo& p, const ProcessList& list) {
    const uint64_t at = list.realtime_ms - std::min(age_ms(p, list), list.realtime_ms);
    const auto seconds = static_cast<std::time_t>(at / 1000);
    std::tm parts{};
    if (::gmtime_r(&seconds, &parts) == nullptr) return "?";
    std::array<char, 32> text{};
    const bool today = at / kDayMs == list.realtime_ms / kDayMs;
    return {text.data(), std::strftime(text.data(), text.size(), today ? "%H:%M" : "%b%d", &parts)};
}

constexpr std::array<ProcessColumn, 36> kColumns{{
    {"pid", "PID", pid},
    {"ppid", "PPID", ppid},
    {"pgid", "PGID", pgid},
    {"pgrp", "PGRP", pgid},
    {"sid", "SID", sid},
    {"sess", "SESS", sid},
    {"user", "USER", user},
    {"euser", "EUSER", user},
    {"uname", "USER", user},
    {"uid", "UID", uid},
    {"euid", "EUID", uid},
    {"comm", "COMMAND", command},
    {"ucmd", "CMD", command},
    {"ucomm", "COMMAND", command},
    {"args", "COMMAND", arguments},
    {"command", "COMMAND", arguments},
    {"cmd", "CMD", arguments},
    {"stat", "STAT", state},
    {"s", "S",
     [](const ProcessInfo& p, const ProcessList&) {
         return std::string(1, static_cast<char>(p.state));
     }},
    {"etime", "ELAPSED", elapsed},
    {"etimes", "ELAPSED",
     [](const ProcessInfo& p, const ProcessList& list) {
         return std::to_string(age_ms(p, list) / 1000);
     }},
    {"time", "TIME", time_used},
    {"cputime", "TIME", time_used},
    {"stime", "STIME", started},
    {"start_time", "START", started},
    {"tty", "TT", terminal},
    {"tt", "TT", terminal},
    {"tname", "TTY", terminal},
    {"pcpu", "%CPU", cpu},
    {"%cpu", "%CPU", cpu},
    {"c", "C", cpu_short},
    {"pmem", "%MEM", memory},
    {"rss", "RSS", resident},
    {"vsz", "VSZ", virtual_size},
    {"nlwp", "NLWP", threads},
    {"ni", "NI", nice},
}};

// What -ef and aux show, under titles of their own.
constexpr std::array<ProcessColumn, 8> kFull{{{"", "UID", user},
                                              {"", "PID", pid},
                                              {"", "PPID", ppid},
                                              {"", "C", cpu_short},
                                              {"", "STIME", started},
                                              {"", "TTY", terminal},
                                              {"", "TIME", time_used},
                                              {"", "CMD", arguments}}};
constexpr std::array<ProcessColumn, 11> kBsd{{{"", "USER", user},
                                              {"", "PID", pid},
                                              {"", "%CPU", cpu},
                                              {"", "%MEM", memory},
                                              {"", "VSZ", virtual_size},
                                              {"", "RSS", resident},
                                              {"", "TTY", terminal},
                                              {"", "STAT", state},
                                              {"", "START", started},
                                              {"", "TIME", time_short},
                                              {"", "COMMAND", arguments}}};

Error unsupported(std::string_view what) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("top: ps option '{}' is not supported: there are -ef, aux and -o with "
                             "pid, ppid, user, uid, comm, args, cmd, stat, etime, time, tty, pcpu, "
                             "rss, vsz and a few more",
                             what.substr(0, 64))};
}

template <size_t N>
void add_all(const std::array<ProcessColumn, N>& columns, std::vector<ProcessColumnChoice>& out) {
    for (const ProcessColumn& column : columns) out.push_back({&column, std::string(column.title)});
}

std::string_view take_word(std::string_view& text, std::string_view ends) {
    const size_t at = text.find_first_of(ends);
    const std::string_view word = text.substr(0, at);
    text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
    return word;
}

/// "pid,comm" or "pid=ID" (whose title goes to the end of the argument).
Status add_list(std::string_view list, std::vector<ProcessColumnChoice>& out) {
    while (!list.empty()) {
        const size_t end = list.find_first_of(",=");
        const std::string_view name = list.substr(0, end);
        const bool titled = end != std::string_view::npos && list[end] == '=';
        const auto* column = std::find_if(kColumns.begin(), kColumns.end(),
                                          [&](const auto& c) { return c.name == name; });
        if (column == kColumns.end()) return unsupported(fmt::format("-o {}", name));
        out.push_back({column, std::string(titled ? list.substr(end + 1) : column->title)});
        if (titled || end == std::string_view::npos) return ok();
        list.remove_prefix(end + 1);
    }
    return ok();
}

/// Letters of one argument that only choose processes (all of them are shown), and at the end
/// perhaps an o, whose list follows.
bool only_selects(std::string_view letters, bool& list_follows) {
    list_follows = letters.ends_with('o');
    if (list_follows) letters.remove_suffix(1);
    return letters.find_first_not_of("eAaxwf") == std::string_view::npos;
}

}  // namespace

Result<std::vector<ProcessColumnChoice>> choose_process_columns(std::string_view ps_arguments) {
    std::vector<ProcessColumnChoice> columns;
    std::optional<bool> bsd;
    while (!ps_arguments.empty()) {
        const std::string_view word = take_word(ps_arguments, " \t\n");
        if (word.empty()) continue;
        if (word == "aux" || word == "axu" || word == "-aux" || word == "u") {
            bsd = true;
            continue;
        }
        const std::string_view letters = word.substr(word.starts_with('-') ? 1 : 0);
        bool list_follows = false;
        if (only_selects(letters, list_follows)) {
            if (list_follows) {
                while (ps_arguments.starts_with(' ')) ps_arguments.remove_prefix(1);
                const std::string_view list = take_word(ps_arguments, " \t\n");
                if (list.empty()) return unsupported(word);
                TRY(add_list(list, columns));
            }
            continue;
        }
        if (word.starts_with("-o")) {  // "-opid,comm"
            TRY(add_list(word.substr(2), columns));
            continue;
        }
        return unsupported(word);
    }
    if (columns.empty() && bsd) add_all(kBsd, columns);
    if (columns.empty()) add_all(kFull, columns);
    return columns;
}

ProcessTable make_process_table(const std::vector<ProcessColumnChoice>& columns,
                                const protocol::ProcessList& list) {
    ProcessTable table;
    for (const ProcessColumnChoice& choice : columns) table.titles.push_back(choice.title);
    for (const ProcessInfo& process : list.processes) {
        std::vector<std::string>& row = table.rows.emplace_back();
        for (const ProcessColumnChoice& choice : columns) {
            std::string& cell = row.emplace_back(choice.column->text(process, list));
            for (char& c : cell) {
                if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
            }
        }
    }
    return table;
}

}  // namespace drupe::engine
