#include "monitor/confine/cgroup.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <span>
#include <sstream>

namespace drupe::confine {
namespace {

constexpr size_t kMaxControlFile = 64 << 10;
constexpr uint64_t kCpuPeriodUs = 100'000;
constexpr int kGonePauseMs = 10;

/// Control files take a value in one write(2).
Status write_control(const std::string& path, const std::string& value) {
    TRY_ASSIGN(const Fd file, open_file(path, O_WRONLY));
    if (::write(file.get(), value.data(), value.size()) < 0)
        return os_error("write '" + value + "' to " + path);
    return ok();
}

Result<std::vector<std::string>> read_words(const std::string& path) {
    TRY_ASSIGN(const std::string text, read_file(path, kMaxControlFile));
    std::istringstream in(text);
    std::vector<std::string> words;
    for (std::string word; in >> word;) words.push_back(word);
    return words;
}

bool contains(const std::vector<std::string>& words, const std::string& word) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

Status make_directory(const std::string& path) {
    if (::mkdir(path.c_str(), 0755) < 0 && errno != EEXIST) return os_error("make cgroup " + path);
    return ok();
}

/// cgroup.events says "populated 1" if a process is in it or below.
Result<bool> populated(const std::string& path) {
    TRY_ASSIGN(const auto words, read_words(path + "/cgroup.events"));
    for (size_t i = 0; i + 1 < words.size(); ++i)
        if (words[i] == "populated") return words[i + 1] != "0";
    return false;
}

Status await_empty(const std::string& path, int patience_ms) {
    for (int waited = 0; waited <= patience_ms; waited += kGonePauseMs) {
        TRY_ASSIGN(const bool busy, populated(path));
        if (!busy) return ok();
        ::poll(nullptr, 0, kGonePauseMs);
    }
    return Error{ErrorCode::kConflict, "cgroup " + path + " has processes in it"};
}

std::string or_max(uint64_t value) {
    return value == 0 ? "max" : std::to_string(value);
}

Status set_cpu_limit(const std::string& path, uint32_t cpu_percent) {
    const std::string quota = or_max(cpu_percent * kCpuPeriodUs / 100);
    return write_control(path + "/cpu.max", quota + " " + std::to_string(kCpuPeriodUs));
}

uint64_t parse_or_zero(std::string_view text) {
    uint64_t value = 0;  // of "max", too
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

uint64_t read_number(const std::string& path) {
    const auto words = read_words(path);
    return words && !words.value().empty() ? parse_or_zero(words.value().front()) : 0;
}

/// "KEY NUMBER" lines.
void read_fields(const std::string& path,
                 std::span<const std::pair<std::string_view, uint64_t*>> fields) {
    const auto words = read_words(path);
    if (!words) return;
    for (size_t i = 0; i + 1 < words.value().size(); i += 2) {
        for (const auto& [name, field] : fields)
            if (words.value()[i] == name) *field = parse_or_zero(words.value()[i + 1]);
    }
}

void read_cpu(const std::string& path, CgroupUsage& usage) {
    const std::pair<std::string_view, uint64_t*> fields[] = {
        {"usage_usec", &usage.cpu_us},
        {"user_usec", &usage.cpu_user_us},
        {"system_usec", &usage.cpu_system_us},
        {"nr_periods", &usage.cpu_periods},
        {"nr_throttled", &usage.cpu_throttled_periods},
        {"throttled_usec", &usage.cpu_throttled_us}};
    read_fields(path + "/cpu.stat", fields);
}

void read_memory(const std::string& path, CgroupUsage& usage) {
    usage.memory_bytes = read_number(path + "/memory.current");
    usage.memory_max_bytes = read_number(path + "/memory.max");
    uint64_t file = 0;
    const std::pair<std::string_view, uint64_t*> fields[] = {{"file", &file}};
    read_fields(path + "/memory.stat", fields);
    usage.private_bytes = usage.memory_bytes - std::min(file, usage.memory_bytes);
}

/// "8:0 rbytes=1 wbytes=2 rios=3 ..." lines, a device each.
void read_io(const std::string& path, CgroupUsage& usage) {
    const auto words = read_words(path + "/io.stat");
    if (!words) return;
    const std::pair<std::string_view, uint64_t*> fields[] = {{"rbytes=", &usage.read_bytes},
                                                             {"wbytes=", &usage.write_bytes},
                                                             {"rios=", &usage.read_operations},
                                                             {"wios=", &usage.write_operations}};
    for (const std::string& word : words.value()) {
        for (const auto& [name, field] : fields)
            if (word.starts_with(name))
                *field += parse_or_zero(std::string_view(word).substr(name.size()));
    }
}

Status set_limits(const std::string& path, const CgroupLimits& limits) {
    TRY(write_control(path + "/memory.max", or_max(limits.memory_max_bytes)));
    // Not there on a host without swap accounting, where there is nothing to limit.
    const std::string swap = path + "/memory.swap.max";
    if (limits.memory_max_bytes != 0 && ::access(swap.c_str(), F_OK) == 0) {
        TRY(write_control(swap, std::to_string(limits.swap_max_bytes)));
    }
    TRY(set_cpu_limit(path, limits.cpu_percent));
    return write_control(path + "/pids.max", or_max(limits.pids_max));
}

}  // namespace

Result<CgroupTree> CgroupTree::open(Options options) {
    struct statfs fs {};
    if (options.check_filesystem &&
        (::statfs(options.root.c_str(), &fs) < 0 ||
         fs.f_type != static_cast<decltype(fs.f_type)>(CGROUP2_SUPER_MAGIC))) {
        return Error{ErrorCode::kUnsupported,
                     options.root + " is no cgroup v2 file system: mount -t cgroup2 none " +
                         options.root + ", or boot with systemd.unified_cgroup_hierarchy=1"};
    }
    CgroupTree tree(std::move(options));
    TRY_ASSIGN(const auto available, read_words(tree.options_.root + "/cgroup.controllers"));
    for (const std::string& controller : tree.options_.controllers) {
        if (contains(available, controller)) continue;
        return Error{
            ErrorCode::kUnsupported,
            "cgroup v2 at " + tree.options_.root + " lacks the " + controller +
                " controller: if cgroup v1 has it, boot with cgroup_no_v1=all; for memory, "
                "boot with cgroup_enable=memory"};
    }
    // What isn't there can't be switched on, and is asked for in vain at each start otherwise.
    std::erase_if(tree.options_.optional_controllers,
                  [&](const std::string& name) { return !contains(available, name); });
    TRY(tree.enable_controllers(tree.options_.root));
    TRY(make_directory(tree.parent_path()));
    TRY(tree.enable_controllers(tree.parent_path()));
    return tree;
}

Status CgroupTree::enable_controllers(const std::string& directory) const {
    const std::string path = directory + "/cgroup.subtree_control";
    TRY_ASSIGN(const auto enabled, read_words(path));
    std::string missing;
    for (const std::string& controller : options_.controllers)
        if (!contains(enabled, controller)) missing += (missing.empty() ? "+" : " +") + controller;
    for (const std::string& controller : options_.optional_controllers)
        if (!contains(enabled, controller)) (void)write_control(path, "+" + controller);
    if (missing.empty()) return ok();
    Status written = write_control(path, missing);
    if (!written && written.error().os_errno == EBUSY) {
        return Error{ErrorCode::kConflict,
                     "switch on cgroup controllers: processes are in " + directory +
                         " itself: move them into a cgroup below it",
                     EBUSY};
    }
    if (!written) return std::move(written).error().wrap("switch on cgroup controllers");
    return ok();
}

Result<std::string> CgroupTree::path_of(std::string_view id) const {
    const auto good = [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               c == '-' || c == '_';
    };
    if (id.empty() || id.size() > 128 || !std::all_of(id.begin(), id.end(), good))
        return Error{ErrorCode::kInvalid, "'" + std::string(id) + "' is no name for a cgroup"};
    return parent_path() + "/" + std::string(id);
}

Result<Fd> CgroupTree::create(std::string_view id, const CgroupLimits& limits) const {
    TRY_ASSIGN(const std::string path, path_of(id));
    const bool made = ::mkdir(path.c_str(), 0755) == 0;
    if (!made && errno != EEXIST) return os_error("make cgroup " + path);
    if (!made) {
        TRY(await_empty(path, options_.patience_ms));
    }
    Status set = options_.controllers.empty() ? ok() : set_limits(path, limits);
    auto directory = set ? open_file(path, O_RDONLY | O_DIRECTORY)
                         : Result<Fd>(std::move(set).error().wrap("set limits"));
    if (!directory && made) ::rmdir(path.c_str());
    return directory;
}

Status CgroupTree::kill(std::string_view id) const {
    TRY_ASSIGN(const std::string path, path_of(id));
    Status written = write_control(path + "/cgroup.kill", "1");  // Linux 5.14
    if (written) return ok();
    struct stat unused {};
    if (::stat(path.c_str(), &unused) < 0 && errno == ENOENT) return ok();
    return std::move(written).error().wrap("kill the processes of a cgroup");
}

Status CgroupTree::remove(std::string_view id) const {
    TRY_ASSIGN(const std::string path, path_of(id));
    for (int waited = 0;; waited += kGonePauseMs) {
        if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return ok();
        if (errno != EBUSY || waited >= options_.patience_ms)
            return os_error("remove cgroup " + path);
        ::poll(nullptr, 0, kGonePauseMs);
    }
}

Result<CgroupUsage> CgroupTree::usage(std::string_view id) const {
    TRY_ASSIGN(const std::string path, path_of(id));
    if (::access(path.c_str(), F_OK) < 0) return os_error("cgroup " + path);
    CgroupUsage usage;
    read_cpu(path, usage);
    read_io(path, usage);
    read_memory(path, usage);
    usage.processes = read_number(path + "/pids.current");
    return usage;
}

Status CgroupTree::limit_cpu(std::string_view id, uint32_t cpu_percent) const {
    TRY_ASSIGN(const std::string path, path_of(id));
    return set_cpu_limit(path, cpu_percent);
}

Status CgroupTree::limit_memory(std::string_view id, uint64_t memory_max_bytes) const {
    TRY_ASSIGN(const std::string path, path_of(id));
    return write_control(path + "/memory.max", or_max(memory_max_bytes));
}

Result<std::vector<std::string>> CgroupTree::list() const {
    std::vector<std::string> ids;
    std::error_code error;
    for (std::filesystem::directory_iterator entry(parent_path(), error), end;
         !error && entry != end; entry.increment(error)) {
        if (entry->is_directory(error)) ids.push_back(entry->path().filename());
    }
    if (error) return os_error("list " + parent_path(), error.value());
    return ids;
}

}  // namespace drupe::confine
