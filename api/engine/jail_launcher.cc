#include "api/engine/jail_launcher.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "base/mutex.h"
#include "imagefs/store/sha256.h"
#include "monitor/confine/cgroup.h"
#include "monitor/confine/jail.h"

namespace drupe::engine {
namespace {

constexpr int kFirstInheritedFd = 3;
constexpr uint32_t kMaxThreads = 256;
constexpr size_t kParentDigits = 12;

/// Gives descriptors the numbers they will have in the jail, densely from 3 on.
class Renumbering {
  public:
    void use(int& fd) {
        if (fd < 0) return;
        const int target = kFirstInheritedFd + static_cast<int>(fds_.size());
        fds_.push_back({fd, target});
        fd = target;
    }
    /// The number that the next one will have.
    [[nodiscard]] int next() const { return kFirstInheritedFd + static_cast<int>(fds_.size()); }
    [[nodiscard]] std::vector<confine::InheritedFd> take() { return std::move(fds_); }

  private:
    std::vector<confine::InheritedFd> fds_;
};

Result<Fd> write_config(const MonitorConfig& config) {
    Fd file(::memfd_create("drupe-vmm-config", MFD_CLOEXEC));
    if (!file.valid()) return os_error("memfd_create");
    const std::string text = to_json(config);
    TRY(write_all(file.get(), std::as_bytes(std::span(text))));
    if (::lseek(file.get(), 0, SEEK_SET) < 0) return os_error("lseek");
    return file;
}

/// Whether KVM lets the processor walk a guest's page tables. Where it walks them itself, it would
/// take RAM that is away for tables that are wrong.
bool has_nested_paging() {
    for (const char* parameter :
         {"/sys/module/kvm_amd/parameters/npt", "/sys/module/kvm_intel/parameters/ept"}) {
        const auto value = read_file(parameter, 16);
        if (value && (value.value().starts_with('N') || value.value().starts_with('0')))
            return false;
    }
    return true;
}

/// Whether a machine that gives its RAM back can have it again: a host that counts what it has
/// promised may have promised it to others.
bool may_give_memory_back() {
    const auto overcommit = read_file("/proc/sys/vm/overcommit_memory", 16);
    const bool counts = overcommit && overcommit.value().starts_with('2');
    return has_nested_paging() && !counts;
}

/// The monitors that this process has started, to be reaped when they have ended: whoever launched
/// one, another launcher's user may see its end.
class Children {
  public:
    void add(const std::string& id, pid_t pid) DRUPE_EXCLUDES(mutex_) {
        const MutexLock lock(mutex_);
        pids_[id] = pid;
    }
    /// Waits a moment for a process that is about to be gone.
    void reap(const std::string& id) DRUPE_EXCLUDES(mutex_) {
        constexpr int kTries = 100;
        for (int i = 0; i < kTries; ++i) {
            if (try_reap(id)) return;
            ::usleep(1000);
        }
        const MutexLock lock(mutex_);
        late_.insert(id);
    }
    /// Those that took longer than a moment.
    void reap_late() DRUPE_EXCLUDES(mutex_) {
        std::set<std::string> ids;
        {
            const MutexLock lock(mutex_);
            ids.swap(late_);
        }
        for (const std::string& id : ids) {
            if (try_reap(id)) continue;
            const MutexLock lock(mutex_);
            late_.insert(id);
        }
    }

  private:
    [[nodiscard]] bool try_reap(const std::string& id) DRUPE_EXCLUDES(mutex_) {
        const MutexLock lock(mutex_);
        const auto child = pids_.find(id);
        if (child == pids_.end()) return true;
        if (::waitpid(child->second, nullptr, WNOHANG) == 0) return false;
        pids_.erase(child);
        return true;
    }

    Mutex mutex_;
    std::map<std::string, pid_t> pids_ DRUPE_GUARDED_BY(mutex_);
    std::set<std::string> late_ DRUPE_GUARDED_BY(mutex_);
};

Children& children() {
    static Children of_this_process;
    return of_this_process;
}

class JailLauncher final : public MonitorLauncher {
  public:
    JailLauncher(std::string parent, bool idle_memory)
        : parent_(std::move(parent)), idle_memory_(idle_memory) {}

    Result<pid_t> launch(const LaunchSpec& spec) override {
        TRY_ASSIGN(const auto tree, open_tree());
        const confine::CgroupLimits limits{spec.memory_max_bytes, 0, spec.cpu_percent, kMaxThreads};
        TRY_ASSIGN(const Fd cgroup, tree.create(spec.config.id, limits));
        auto pid = launch_in(spec, cgroup.get());
        if (!pid) static_cast<void>(tree.remove(spec.config.id));  // the first error matters
        return pid;
    }

    Status kill_all(const std::string& id) override {
        const auto tree = open_tree();
        if (!tree) return ok();  // nothing could have been started here
        return tree.value().kill(id);
    }

    Status release(const std::string& id) override {
        children().reap(id);
        const auto tree = open_tree();
        if (!tree) return ok();
        return tree.value().remove(id);
    }

    Result<HostUsage> usage(const std::string& id) override {
        TRY_ASSIGN(const auto tree, open_tree());
        return tree.usage(id);
    }

    Status limit_cpu(const std::string& id, uint32_t cpu_percent) override {
        TRY_ASSIGN(const auto tree, open_tree());
        return tree.limit_cpu(id, cpu_percent);
    }

    Status limit_memory(const std::string& id, uint64_t bytes) override {
        TRY_ASSIGN(const auto tree, open_tree());
        return tree.limit_memory(id, bytes);
    }

    Result<std::vector<std::string>> leftovers() override {
        children().reap_late();
        const auto tree = open_tree();
        if (!tree) return std::vector<std::string>();
        return tree.value().list();
    }

  private:
    [[nodiscard]] Result<confine::CgroupTree> open_tree() const {
        confine::CgroupTree::Options options;
        options.parent = parent_;
        return confine::CgroupTree::open(std::move(options));
    }

    Result<pid_t> launch_in(const LaunchSpec& spec, int cgroup) {
        TRY_ASSIGN(const Fd program, open_file(spec.program, O_RDONLY));
        TRY_ASSIGN(const Fd null, open_file("/dev/null", O_RDWR));
        MonitorConfig config = spec.config;
        // Written with the memory's limit, where there is swap accounting.
        config.may_swap =
            spec.memory_max_bytes == 0 || ::faccessat(cgroup, "memory.swap.max", F_OK, 0) != 0;
        Renumbering numbers;
        for_each_descriptor(config, [&](int& fd) { numbers.use(fd); });
        if (idle_memory_) config.own_process_fd = numbers.next() + 1;  // behind the configuration's
        TRY_ASSIGN(const Fd config_file, write_config(config));
        int config_fd = config_file.get();
        numbers.use(config_fd);

        confine::JailSpec jail;
        jail.executable_fd = program.get();
        jail.argv = {"drupe-vmm", "--config-fd", std::to_string(config_fd)};
        jail.fds = numbers.take();
        const int log = spec.log_fd >= 0 ? spec.log_fd : null.get();
        jail.fds.push_back({null.get(), STDIN_FILENO});
        jail.fds.push_back({log, STDOUT_FILENO});
        jail.fds.push_back({log, STDERR_FILENO});
        jail.own_process_fd = config.own_process_fd;
        jail.uid = spec.uid;
        jail.gid = spec.uid;
        jail.cgroup_fd = cgroup;
        TRY_ASSIGN(const auto process, confine::launch(jail));
        children().add(spec.config.id, process.pid);
        return process.pid;
    }

    std::string parent_;
    bool idle_memory_;
};

}  // namespace

std::string cgroup_parent(const std::string& root) {
    std::error_code error;
    std::string path = std::filesystem::weakly_canonical(root, error);
    if (error) path = root;
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    return "drupe-" + imagefs::sha256(path).hex().substr(0, kParentDigits);
}

std::unique_ptr<MonitorLauncher> make_jail_launcher(const std::string& root, bool idle_memory) {
    return std::make_unique<JailLauncher>(cgroup_parent(root),
                                          idle_memory && may_give_memory_back());
}

}  // namespace drupe::engine
