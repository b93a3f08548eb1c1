#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "api/engine/launcher.h"
#include "base/fd.h"
#include "base/mutex.h"
#include "base/result.h"

namespace drupe::engine {

/// Machines that have gone on from a template before anybody wanted them, each a confined monitor
/// with a user and a cgroup of its own. A start takes one instead of making one, and another is
/// made once no start has come for a moment. They end with this process, and when there was no
/// start for kIdleNs. Any thread.
class Standbys {
  public:
    struct Options {
        std::string folder;              ///< For what they have to say; made when needed.
        size_t for_each_shape = 2;       ///< So many wait; 0: none are made.
        uint64_t rest_ns = 100'000'000;  ///< After the last start, before others are made.
    };
    /// The launcher starts and ends them.
    Standbys(Options options, std::unique_ptr<MonitorLauncher> launcher);
    Standbys(const Standbys&) = delete;
    Standbys& operator=(const Standbys&) = delete;
    /// Ends those that wait.
    ~Standbys();

    struct Shape;
    /// One that waits. Whoever has it calls hand_over() or end().
    struct Machine {
        std::shared_ptr<const Shape> shape;
        std::string name;  ///< Of its cgroup.
        pid_t pid = -1;
        Fd socket;
    };
    /// nullopt: none fits.
    [[nodiscard]] std::optional<Machine> take(const LaunchSpec& spec) DRUPE_EXCLUDES(mutex_);
    /// Makes it a container's. After an error: end().
    [[nodiscard]] Status hand_over(const Machine& machine, const LaunchSpec& spec)
        DRUPE_EXCLUDES(mutex_);
    void end(const Machine& machine) DRUPE_EXCLUDES(mutex_);

    /// There was a start like this: there will be more.
    void want(const LaunchSpec& spec) DRUPE_EXCLUDES(mutex_);
    /// Cgroups' names of machines that are nobody's yet.
    [[nodiscard]] std::set<std::string> names() const DRUPE_EXCLUDES(mutex_);

    static constexpr size_t kMaxShapes = 4;
    static constexpr uint64_t kIdleNs = 600'000'000'000;
    /// Host users and groups: no container's.
    static constexpr uint32_t kFirstUid = 190'000;
    static constexpr uint32_t kUids = 9'000;

  private:
    struct Job;

    void work();
    [[nodiscard]] Job next_job() DRUPE_EXCLUDES(mutex_);
    void wait_until(uint64_t ns) DRUPE_REQUIRES(mutex_);
    [[nodiscard]] size_t count(const Shape& shape) const DRUPE_REQUIRES(mutex_);
    [[nodiscard]] Status make(const std::shared_ptr<const Shape>& shape) DRUPE_EXCLUDES(mutex_);
    [[nodiscard]] Result<uint32_t> take_uid() DRUPE_EXCLUDES(mutex_);
    [[nodiscard]] Result<Machine> start(const std::shared_ptr<const Shape>& shape,
                                        uint32_t uid) const;
    void forget(const std::string& name) DRUPE_EXCLUDES(mutex_);

    Options options_;
    std::unique_ptr<MonitorLauncher> launcher_;
    mutable Mutex mutex_;
    Condition changed_;
    std::list<Machine> waiting_ DRUPE_GUARDED_BY(mutex_);
    // Of the last starts, the latest first.
    std::list<std::shared_ptr<const Shape>> shapes_ DRUPE_GUARDED_BY(mutex_);
    std::set<std::string> names_ DRUPE_GUARDED_BY(mutex_);
    uint64_t last_start_ns_ DRUPE_GUARDED_BY(mutex_) = 0;
    bool refused_ DRUPE_GUARDED_BY(mutex_) = false;  // one couldn't be made: not until a start
    bool ends_ DRUPE_GUARDED_BY(mutex_) = false;
    uint32_t next_uid_ = 0;  // the worker's
    std::thread worker_;
};

/// A launcher that takes machines from `standbys`, where there are some (null: none), and knows
/// those that any launcher on this host has taken: a link RUN/standbys/CONTAINER has the name of
/// the machine's cgroup.
[[nodiscard]] std::unique_ptr<MonitorLauncher> make_standby_launcher(
    std::string folder, std::unique_ptr<MonitorLauncher> launcher, Standbys* standbys);

}  // namespace drupe::engine
