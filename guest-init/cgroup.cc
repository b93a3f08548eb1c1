#include "guest-init/cgroup.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

namespace drupe::init {
namespace {

constexpr const char* kName = "drupe";
constexpr size_t kEventsBytes = 256;
constexpr const char* kSubtree = "cgroup.subtree_control";

Status write_at(int directory, const std::string& file, std::string_view text) {
    const Fd fd(::openat(directory, file.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd.valid() || ::write(fd.get(), text.data(), text.size()) < 0)
        return os_error("cgroup: write " + std::string(text) + " to " + file);
    return ok();
}

std::string read_at(int directory, const char* file) {
    const Fd fd(::openat(directory, file, O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) return {};
    auto text = read_all(fd.get(), 16 << 10);
    return text ? std::move(text).value() : std::string();
}

/// A mount of the hierarchy that only this process has, whatever the container mounts where.
Result<Fd> open_hierarchy() {
    const Fd context(::fsopen("cgroup2", FSOPEN_CLOEXEC));
    if (!context.valid()) return os_error("cgroup: fsopen");
    // Refused where another mount has decided it already: then it holds or it doesn't.
    (void)::fsconfig(context.get(), FSCONFIG_SET_FLAG, "nsdelegate", nullptr, 0);
    if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0)
        return os_error("cgroup: create file system");
    Fd mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
    if (!mount.valid()) return os_error("cgroup: fsmount");
    return mount;
}

}  // namespace

Result<Cgroup> Cgroup::create() {
    TRY_ASSIGN(const Fd root, open_hierarchy());
    // All at once, else those that this kernel has.
    if (!write_at(root.get(), kSubtree, "+memory +pids +cpu +io"))
        for (const char* controller : {"+memory", "+pids", "+cpu", "+io"})
            (void)write_at(root.get(), kSubtree, controller);
    if (::mkdirat(root.get(), kName, 0755) < 0 && errno != EEXIST) return os_error("cgroup: mkdir");
    Fd directory(::openat(root.get(), kName, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory.valid()) return os_error("cgroup: open");
    return Cgroup(std::move(directory));
}

Status Cgroup::set_limits(uint64_t memory_max, uint64_t pids_max) const {
    const auto set = [this](const char* file, uint64_t limit) -> Status {
        if (limit != 0) return write_at(directory_.get(), file, std::to_string(limit));
        const Status lifted = write_at(directory_.get(), file, "max");
        return lifted || lifted.error().os_errno == ENOENT ? ok() : lifted;
    };
    TRY(set("memory.max", memory_max));
    return set("pids.max", pids_max);
}

Status Cgroup::suspend(bool suspended) const {
    TRY(write_at(directory_.get(), "cgroup.freeze", suspended ? "1" : "0"));
    if (!suspended) return ok();
    const Fd events(::openat(directory_.get(), "cgroup.events", O_RDONLY | O_CLOEXEC));
    if (!events.valid()) return os_error("cgroup: open cgroup.events");
    const auto until = std::chrono::steady_clock::now() + kSuspendLimit;
    for (;;) {
        // Reading makes the next change an event.
        std::string text(kEventsBytes, '\0');
        const ssize_t n = ::pread(events.get(), text.data(), text.size(), 0);
        if (n > 0 && parse_counter(text.substr(0, static_cast<size_t>(n)), "frozen") == 1)
            return ok();
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            until - std::chrono::steady_clock::now());
        if (left.count() <= 0) break;
        pollfd wait{events.get(), POLLPRI, 0};
        (void)::poll(&wait, 1, static_cast<int>(left.count()));
    }
    (void)write_at(directory_.get(), "cgroup.freeze", "0");
    return os_error("cgroup: some processes don't stand still", EBUSY);
}

Status Cgroup::enter() const {
    Status entered = write_at(directory_.get(), "cgroup.procs", "0");
    if (entered || entered.error().os_errno != EBUSY) return entered;
    // The workload has enabled controllers below it: processes have to live in leaves.
    if (::mkdirat(directory_.get(), "exec", 0755) < 0 && errno != EEXIST)
        return os_error("cgroup: mkdir exec");
    return write_at(directory_.get(), "exec/cgroup.procs", "0");
}

uint64_t Cgroup::oom_kills() const {
    return parse_counter(read_at(directory_.get(), "memory.events"), "oom_kill");
}

protocol::Usage read_usage(int directory) {
    const auto number = [&](const char* file) {
        uint64_t value = 0;  // of "max", too
        const std::string text = read_at(directory, file);
        (void)std::from_chars(text.data(), text.data() + text.size(), value);
        return value;
    };
    return {
        .memory_bytes = number("memory.current"),
        .inactive_file_bytes = parse_counter(read_at(directory, "memory.stat"), "inactive_file"),
        .memory_max = number("memory.max"),
        .processes = number("pids.current"),
        .processes_max = number("pids.max"),
        .oom_kills = parse_counter(read_at(directory, "memory.events"), "oom_kill")};
}

uint64_t parse_counter(std::string_view text, std::string_view key) {
    uint64_t count = 0;
    for (size_t at = text.find(key); at != std::string_view::npos; at = text.find(key, at + 1)) {
        const size_t end = at + key.size();
        if ((at != 0 && text[at - 1] != '\n') || end >= text.size() || text[end] != ' ') continue;
        (void)std::from_chars(text.data() + end + 1, text.data() + text.size(), count);
    }
    return count;
}

}  // namespace drupe::init
