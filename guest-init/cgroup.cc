#include "guest-init/cgroup.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

namespace drupe::init {
namespace {

constexpr const char* kName = "drupe";
constexpr const char* kSubtree = "cgroup.subtree_control";

Status write_at(int directory, const std::string& file, std::string_view text) {
    const Fd fd(::openat(directory, file.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd.valid() || ::write(fd.get(), text.data(), text.size()) < 0)
        return os_error("cgroup: write " + std::string(text) + " to " + file);
    return ok();
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

Result<Cgroup> Cgroup::create(uint64_t memory_max, uint64_t pids_max) {
    TRY_ASSIGN(const Fd root, open_hierarchy());
    // All at once, else those that this kernel has.
    if (!write_at(root.get(), kSubtree, "+memory +pids +cpu +io"))
        for (const char* controller : {"+memory", "+pids", "+cpu", "+io"})
            (void)write_at(root.get(), kSubtree, controller);
    if (::mkdirat(root.get(), kName, 0755) < 0 && errno != EEXIST) return os_error("cgroup: mkdir");
    Fd directory(::openat(root.get(), kName, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory.valid()) return os_error("cgroup: open");
    if (memory_max != 0) {
        TRY(write_at(directory.get(), "memory.max", std::to_string(memory_max)));
    }
    if (pids_max != 0) {
        TRY(write_at(directory.get(), "pids.max", std::to_string(pids_max)));
    }
    return Cgroup(std::move(directory));
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
    const Fd fd(::openat(directory_.get(), "memory.events", O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) return 0;
    const auto text = read_all(fd.get(), 4096);
    return text ? parse_oom_kills(text.value()) : 0;
}

uint64_t parse_oom_kills(std::string_view events) {
    constexpr std::string_view kKey = "oom_kill ";
    uint64_t count = 0;
    for (size_t at = events.find(kKey); at != std::string_view::npos;
         at = events.find(kKey, at + 1)) {
        if (at != 0 && events[at - 1] != '\n') continue;
        const char* digits = events.data() + at + kKey.size();
        (void)std::from_chars(digits, events.data() + events.size(), count);
    }
    return count;
}

}  // namespace drupe::init
