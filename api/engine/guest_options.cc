#include "api/engine/guest_options.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/mount.h>

#include <algorithm>
#include <array>

namespace drupe::engine {
namespace {

constexpr size_t kMaxSysctlValueBytes = 4096;
constexpr size_t kMaxListItems = 256;
constexpr uint64_t kMaxPids = 4'194'304;  // PID_MAX_LIMIT of Linux
constexpr uint64_t kMaxShmBytes = 1ull << 40;
constexpr uint32_t kMaxLogFiles = 20;
constexpr uint64_t kMinLogFileBytes = 1024;
constexpr size_t kShown = 128;  // of a value in a message

Error invalid(std::string message) {
    return Error{ErrorCode::kInvalid, std::move(message)};
}

struct Flag {
    std::string_view name;
    bool clear;
    uint64_t bits;
};
constexpr std::array<Flag, 20> kFlags{{
    {"ro", false, MS_RDONLY},
    {"rw", true, MS_RDONLY},
    {"nosuid", false, MS_NOSUID},
    {"suid", true, MS_NOSUID},
    {"nodev", false, MS_NODEV},
    {"dev", true, MS_NODEV},
    {"noexec", false, MS_NOEXEC},
    {"exec", true, MS_NOEXEC},
    {"sync", false, MS_SYNCHRONOUS},
    {"async", true, MS_SYNCHRONOUS},
    {"dirsync", false, MS_DIRSYNC},
    {"noatime", false, MS_NOATIME},
    {"atime", true, MS_NOATIME},
    {"nodiratime", false, MS_NODIRATIME},
    {"diratime", true, MS_NODIRATIME},
    {"relatime", false, MS_RELATIME},
    {"norelatime", true, MS_RELATIME},
    {"strictatime", false, MS_STRICTATIME},
    {"nostrictatime", true, MS_STRICTATIME},
    {"defaults", false, 0},
}};

bool all_of(std::string_view text, std::string_view allowed) {
    return !text.empty() && text.find_first_not_of(allowed) == std::string_view::npos;
}

/// "64m", "50%", "65536".
bool is_size(std::string_view text) {
    constexpr std::string_view kUnits = "kKmMgG%";
    if (!text.empty() && kUnits.find(text.back()) != std::string_view::npos) text.remove_suffix(1);
    return text.size() <= 19 && all_of(text, "0123456789");
}

bool is_good_value(std::string_view name, std::string_view value) {
    constexpr size_t kMaxDigits = 10;
    if (name == "size" || name == "nr_inodes" || name == "nr_blocks") return is_size(value);
    if (name == "mode") return value.size() <= 5 && all_of(value, "01234567");
    if (name == "uid" || name == "gid") {
        return value.size() <= kMaxDigits && all_of(value, "0123456789");
    }
    return false;
}

/// No white space, control character or NUL; whatever is written into a line of a file.
bool is_word(std::string_view text) {
    return !text.empty() && text.size() <= kShown * 2 &&
           std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c != '\x7f'; });
}

bool is_address(const std::string& text) {
    std::array<unsigned char, sizeof(in6_addr)> bytes{};
    const std::string address = text.substr(0, text.find('%'));
    return ::inet_pton(AF_INET, text.c_str(), bytes.data()) == 1 ||
           ::inet_pton(AF_INET6, address.c_str(), bytes.data()) == 1;
}

std::string join(const std::vector<std::string>& words) {
    std::string line;
    for (const std::string& word : words) line += " " + word;
    return line;
}

}  // namespace

Result<protocol::TmpfsMount> parse_tmpfs(const std::string& path, std::string_view options) {
    const auto bad = [&](std::string_view what) {
        return invalid(fmt::format("--tmpfs {}: {}", path.substr(0, kShown), what));
    };
    if (!path.starts_with('/') || path.find('\0') != std::string::npos) {
        return bad("the mount point has to be an absolute path");
    }
    if (path.find_first_not_of('/') == std::string::npos) return bad("the root can't be a tmpfs");
    protocol::TmpfsMount mount;
    mount.path = path;
    mount.flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    while (!options.empty()) {
        const size_t comma = options.find(',');
        const std::string_view option = options.substr(0, comma);
        options = comma == std::string_view::npos ? "" : options.substr(comma + 1);
        if (option.empty()) continue;
        const auto* const flag = std::find_if(kFlags.begin(), kFlags.end(),
                                              [&](const Flag& f) { return f.name == option; });
        if (flag != kFlags.end()) {
            mount.flags = flag->clear ? mount.flags & ~flag->bits : mount.flags | flag->bits;
            continue;
        }
        const size_t equals = option.find('=');
        if (equals == std::string_view::npos ||
            !is_good_value(option.substr(0, equals), option.substr(equals + 1))) {
            return bad(fmt::format("unknown option or bad value '{}'", option.substr(0, kShown)));
        }
        mount.options += (mount.options.empty() ? "" : ",") + std::string(option);
    }
    return mount;
}

Result<std::string> sysctl_setting(const std::string& name, const std::string& value) {
    const auto bad = [&](std::string_view what) {
        return invalid(fmt::format("--sysctl {}: {}", name.substr(0, kShown), what));
    };
    if (!all_of(name, "abcdefghijklmnopqrstuvwxyz0123456789_-./") || name.size() > kShown * 2) {
        return bad("a name is made of a-z, 0-9, '_', '-', '.' and '/'");
    }
    std::string path = name;
    // As sysctl(8): dots and slashes change places, unless a slash comes first.
    if (path[path.find_first_of("./") == std::string::npos ? 0 : path.find_first_of("./")] == '.') {
        for (char& c : path) c = c == '.' ? '/' : c == '/' ? '.' : c;
    }
    const std::string around = "/" + path + "/";
    for (const char* part : {"//", "/./", "/../"}) {
        if (around.find(part) != std::string::npos) return bad("no such name");
    }
    if (value.size() > kMaxSysctlValueBytes || value.find('\0') != std::string::npos) {
        return bad("its value is longer than 4096 bytes or holds a NUL byte");
    }
    return path + "=" + value;
}

Result<std::vector<std::string>> resolv_conf_of(const ContainerConfig& config) {
    std::vector<std::string> lines;
    for (const std::string& server : config.dns) {
        if (!is_address(server)) {
            return invalid(
                fmt::format("--dns {}: that is no IP address", server.substr(0, kShown)));
        }
        lines.push_back("nameserver " + server);
    }
    for (const std::string& domain : config.dns_search) {
        if (!is_word(domain)) {
            return invalid(
                fmt::format("--dns-search '{}': that is no domain", domain.substr(0, kShown)));
        }
    }
    // "." alone asks for none.
    if (!config.dns_search.empty() && config.dns_search != std::vector<std::string>{"."}) {
        lines.push_back("search" + join(config.dns_search));
    }
    for (const std::string& option : config.dns_options) {
        if (!is_word(option)) {
            return invalid(
                fmt::format("--dns-option '{}': that is no option", option.substr(0, kShown)));
        }
    }
    if (!config.dns_options.empty()) lines.push_back("options" + join(config.dns_options));
    return lines;
}

Result<std::vector<std::string>> extra_host_lines(const ContainerConfig& config) {
    std::vector<std::string> lines;
    for (const std::string& text : config.extra_hosts) {
        const auto bad = [&](std::string_view what) {
            return invalid(fmt::format("--add-host {}: {}", text.substr(0, kShown), what));
        };
        const size_t equals = text.find('=');
        const size_t cut = equals != std::string::npos ? equals : text.find(':');
        if (cut == std::string::npos) return bad("write NAME:ADDRESS");
        const std::string name = text.substr(0, cut);
        std::string address = text.substr(cut + 1);
        if (address.size() > 2 && address.front() == '[' && address.back() == ']') {
            address = address.substr(1, address.size() - 2);
        }
        if (!is_word(name)) return bad("that is no host's name");
        if (address == "host-gateway") {
            return bad("there is no host-gateway: no network carries packets yet");
        }
        if (!is_address(address)) return bad("that is no IP address");
        lines.push_back(address + "\t" + name);
    }
    return lines;
}

Status apply_guest_options(const ContainerConfig& config, protocol::Start& workload) {
    TRY_ASSIGN(workload.capabilities, capabilities_of(config));
    workload.groups = config.groups;
    workload.pids_max = config.pids_limit;
    workload.shm_bytes = config.shm_bytes;
    workload.init = config.init;
    if (config.tmpfs.size() > protocol::kMaxTmpfsMounts) {
        return invalid(fmt::format("--tmpfs: at most {} are possible", protocol::kMaxTmpfsMounts));
    }
    for (const auto& [path, options] : config.tmpfs) {
        TRY_ASSIGN(auto mount, parse_tmpfs(path, options));
        workload.tmpfs.push_back(std::move(mount));
    }
    for (const auto& [name, value] : config.sysctls) {
        TRY_ASSIGN(auto setting, sysctl_setting(name, value));
        workload.sysctls.push_back(std::move(setting));
    }
    return ok();
}

Status validate_guest_options(const ContainerConfig& config) {
    protocol::Start unused;
    TRY(apply_guest_options(config, unused));
    TRY(resolv_conf_of(config));
    TRY(extra_host_lines(config));
    for (const std::string& group : config.groups) {
        if (!is_word(group) || group.find(':') != std::string::npos) {
            return invalid(
                fmt::format("--group-add '{}': that is no group", group.substr(0, kShown)));
        }
    }
    for (const auto* list : {&config.groups, &config.dns, &config.dns_search, &config.dns_options,
                             &config.extra_hosts, &config.cap_add, &config.cap_drop}) {
        if (list->size() > kMaxListItems) {
            return invalid(fmt::format("an option is given more than {} times", kMaxListItems));
        }
    }
    if (config.sysctls.size() > kMaxListItems) return invalid("--sysctl: too many of them");
    if (config.pids_limit > kMaxPids) {
        return invalid(
            fmt::format("--pids-limit {} is out of range: up to {}", config.pids_limit, kMaxPids));
    }
    if (config.shm_bytes > kMaxShmBytes) {
        return invalid(fmt::format("--shm-size {} is out of range: up to 1024g", config.shm_bytes));
    }
    const LogOptions& log = config.log;
    if (log.driver != "json-file" && log.driver != "local" && log.driver != "none") {
        return invalid(fmt::format("--log-driver {}: there are json-file, local and none",
                                   log.driver.substr(0, kShown)));
    }
    if (log.max_files > kMaxLogFiles) {
        return invalid(fmt::format("--log-opt max-file={} is out of range: up to {}", log.max_files,
                                   kMaxLogFiles));
    }
    if (log.max_size_bytes != 0 && log.max_size_bytes < kMinLogFileBytes) {
        return invalid(
            fmt::format("--log-opt max-size={} is out of range: from 1k on", log.max_size_bytes));
    }
    return ok();
}

}  // namespace drupe::engine
