#pragma once

#include <set>
#include <string>
#include <vector>

#include "api/engine/engine.h"

namespace drupe::engine::testing {

/// Images without a store: one named "image", whose tops are empty files in ROOT/tops.
class FakeImages final : public ImageSource {
  public:
    [[nodiscard]] static Result<std::unique_ptr<FakeImages>> open(const std::string& root);

    [[nodiscard]] Result<ImageRef> resolve(std::string_view name) override;
    [[nodiscard]] Result<imagefs::DiskFiles> create_top(const std::string& id,
                                                        const ImageRef& image) override;
    [[nodiscard]] Result<imagefs::DiskFiles> open_top(const std::string& id) override;
    [[nodiscard]] Result<bool> is_unwritten(const imagefs::DiskFiles& disk) override;
    [[nodiscard]] Result<imagefs::DiskFiles> reset_top(const std::string& id,
                                                       const ImageRef& image) override;
    [[nodiscard]] Result<imagefs::DiskFiles> open_read_only(const ImageRef& image) override;
    [[nodiscard]] Status remove_top(const std::string& id) override;
    [[nodiscard]] Status check_name(std::string_view reference) override;
    [[nodiscard]] Result<SealedDisk> seal_top(const std::string& id) override;
    [[nodiscard]] Result<std::string> image_config(const std::string& id) override;
    [[nodiscard]] Result<std::string> put_image(
        const SealedDisk& disk, const std::string& reference,
        const std::function<Result<std::string>(std::string_view diff_id)>& make_config) override;

    std::string fail_seal_with;
    std::vector<std::string> reset_to;   ///< The chains that containers' tops were reset to.
    std::vector<std::string> committed;  ///< The configurations that were put.
    [[nodiscard]] imagefs::Database& database() override { return db_; }

  private:
    FakeImages(std::string root, imagefs::Database db)
        : root_(std::move(root)), db_(std::move(db)) {}
    std::string root_;
    imagefs::Database db_;
};

/// Starts a process that behaves as a monitor does, as far as its parent can see. It is stricter
/// than the real one: what it is given has to be exactly right, or it dies with a message. What the
/// "guest" does is the workload's argv:
///     exit N      ends at once            sleep        ends at TERM (143)
///     stubborn    ends at KILL only       deaf         answers nothing, not even kill
///     hello       prints and ends         cat          copies stdin to stdout
///     missing     can't be started (127)  crash        the monitor dies without a record
///     garbage     leaves a record that is none
///     crowded     refuses every wait; ends at TERM, as sleep does
///     greedy      takes no disk back; else as sleep
///     unfrozen    sleeps, and can't freeze its file system
///     tty         prints "ready", then "size R C" at each resize; a q ends it (3)
class FakeLauncher final : public MonitorLauncher {
  public:
    [[nodiscard]] Result<pid_t> launch(const LaunchSpec& spec) override;
    [[nodiscard]] Status kill_all(const std::string& id) override;
    [[nodiscard]] Status release(const std::string& id) override;
    [[nodiscard]] Result<HostUsage> usage(const std::string& id) override;
    [[nodiscard]] Status limit_cpu(const std::string& id, uint32_t cpu_percent) override;
    [[nodiscard]] Status limit_memory(const std::string& id, uint64_t bytes) override;
    [[nodiscard]] Result<std::vector<std::string>> leftovers() override;

    /// Each monitor is a process of LaunchSpec::program, as real ones are; else it is a fork, which
    /// a process with more threads can't have: its allocator may be locked.
    bool runs_program = false;
    uint32_t cpu_percent = 0;             ///< As last limited.
    std::vector<uint64_t> memory_limits;  ///< As limited, one after the other.
    std::string fail_with;                ///< The next launches fail with this message.
    std::set<std::string> stuck;          ///< Ids that release() fails for.
    std::vector<std::string> left;        ///< What leftovers() finds.
    LaunchSpec last;                      ///< Its descriptors' numbers mean nothing any more.
    std::vector<pid_t> pids;
};

/// What a forked monitor does, with the configuration on a descriptor.
[[noreturn]] void run_fake_monitor(int config_fd);

}  // namespace drupe::engine::testing
