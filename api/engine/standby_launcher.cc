// Containers whose machines were made before them: their cgroups have other names.

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <filesystem>
#include <map>
#include <utility>

#include "api/engine/paths.h"
#include "api/engine/standbys.h"
#include "base/log.h"

namespace drupe::engine {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "standby-";

class StandbyLauncher final : public MonitorLauncher {
  public:
    StandbyLauncher(std::string folder, std::unique_ptr<MonitorLauncher> launcher,
                    Standbys* standbys)
        : folder_(std::move(folder)), launcher_(std::move(launcher)), standbys_(standbys) {}

    Result<pid_t> launch(const LaunchSpec& spec) override {
        if (const auto name = name_of(spec.config.id); name != spec.config.id) {
            TRY(release(spec.config.id));  // what a machine of before has left
        }
        if (standbys_ == nullptr) return launcher_->launch(spec);
        const auto taken = launch_standby(spec);
        auto pid = taken ? Result<pid_t>(*taken) : launcher_->launch(spec);
        standbys_->want(spec);
        return pid;
    }

    Status kill_all(const std::string& id) override { return launcher_->kill_all(name_of(id)); }

    /// The link first: its name may be another machine's as soon as the cgroup is gone.
    Status release(const std::string& id) override {
        const std::string name = name_of(id);
        if (name != id && ::unlink(link_of(id).c_str()) < 0 && errno != ENOENT)
            return os_error("remove " + link_of(id));
        return launcher_->release(name);
    }

    Result<HostUsage> usage(const std::string& id) override {
        return launcher_->usage(name_of(id));
    }

    Status limit_cpu(const std::string& id, uint32_t cpu_percent) override {
        return launcher_->limit_cpu(name_of(id), cpu_percent);
    }

    Status limit_memory(const std::string& id, uint64_t bytes) override {
        return launcher_->limit_memory(name_of(id), bytes);
    }

    /// In this order: a machine is in names() until its container's link is there.
    Result<std::vector<std::string>> leftovers() override {
        TRY_ASSIGN(const auto cgroups, launcher_->leftovers());
        const auto waiting = standbys_ != nullptr ? standbys_->names() : std::set<std::string>();
        const auto containers = links();
        std::vector<std::string> ids;
        for (const std::string& name : cgroups) {
            const auto container = containers.find(name);
            if (container != containers.end()) {
                ids.push_back(container->second);
            } else if (!name.starts_with(kPrefix) ||
                       (standbys_ != nullptr && !waiting.contains(name))) {
                ids.push_back(name);
            }
        }
        return ids;
    }

  private:
    [[nodiscard]] std::string link_of(const std::string& id) const { return folder_ + "/" + id; }

    /// The name of its machine's cgroup.
    [[nodiscard]] std::string name_of(const std::string& id) const {
        char name[NAME_MAX];
        const ssize_t size = ::readlink(link_of(id).c_str(), name, sizeof name);
        return size > 0 ? std::string(name, static_cast<size_t>(size)) : id;
    }

    /// Containers by the names of their machines' cgroups.
    [[nodiscard]] std::map<std::string, std::string> links() const {
        std::map<std::string, std::string> found;
        std::error_code error;
        for (fs::directory_iterator entry(folder_, error), end; !error && entry != end;
             entry.increment(error)) {
            if (!entry->is_symlink(error)) continue;
            const std::string id = entry->path().filename();
            found.emplace(name_of(id), id);
        }
        return found;
    }

    [[nodiscard]] std::optional<pid_t> launch_standby(const LaunchSpec& spec) {
        const auto machine = standbys_->take(spec);
        if (!machine) return std::nullopt;
        const std::string link = link_of(spec.config.id);
        const Status handed = ::symlink(machine->name.c_str(), link.c_str()) == 0
                                  ? standbys_->hand_over(*machine, spec)
                                  : os_error("link " + link);
        if (handed) return machine->pid;
        log(LogLevel::kWarn, "a machine that waited can't be used, one is made: {}",
            handed.error().message);
        ::unlink(link.c_str());
        standbys_->end(*machine);
        return std::nullopt;
    }

    std::string folder_;
    std::unique_ptr<MonitorLauncher> launcher_;
    Standbys* standbys_;
};

}  // namespace

std::unique_ptr<MonitorLauncher> make_standby_launcher(std::string folder,
                                                       std::unique_ptr<MonitorLauncher> launcher,
                                                       Standbys* standbys) {
    return std::make_unique<StandbyLauncher>(std::move(folder), std::move(launcher), standbys);
}

}  // namespace drupe::engine
