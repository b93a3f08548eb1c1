#include "api/engine/standbys.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <thread>

#include "monitor/assignment.h"

namespace drupe::engine {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;
using ::testing::StartsWith;

bool eventually(const std::function<bool()>& holds) {
    for (int i = 0; i < 1000; ++i) {
        if (holds()) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
}

/// A host on which machines are threads, each in a "cgroup" of its name.
class Host {
  public:
    ~Host() {
        for (auto& [name, machine] : machines_)
            if (machine.thread.joinable()) machine.thread.join();
    }
    pid_t launch(const LaunchSpec& spec) {
        const MutexLock lock(mutex_);
        Played& machine = machines_[spec.config.id];
        machine.pid = ++last_pid_;
        if (spec.config.standby_fd < 0) return machine.pid;
        machine.socket = Fd(::dup(spec.config.standby_fd));
        machine.thread = std::thread([this, fd = machine.socket.get()] { wait(fd); });
        return machine.pid;
    }
    void end(const std::string& name) {
        Played ended;
        {
            const MutexLock lock(mutex_);
            const auto found = machines_.find(name);
            if (found == machines_.end()) return;
            ended = std::move(found->second);
            machines_.erase(found);
        }
        if (ended.socket.valid()) ::shutdown(ended.socket.get(), SHUT_RDWR);
        if (ended.thread.joinable()) ended.thread.join();
    }
    /// Its machines die, their cgroups stay.
    void kill_waiting() {
        const MutexLock lock(mutex_);
        for (auto& [name, machine] : machines_)
            if (machine.socket.valid()) ::shutdown(machine.socket.get(), SHUT_RDWR);
    }
    std::vector<std::string> names() const {
        const MutexLock lock(mutex_);
        std::vector<std::string> names;
        for (const auto& [name, machine] : machines_) names.push_back(name);
        return names;
    }
    std::vector<std::string> taken() const {
        const MutexLock lock(mutex_);
        return taken_;
    }
    std::string limited;  ///< The cgroup whose CPU was limited last.

  private:
    struct Played {
        pid_t pid = 0;
        Fd socket;
        std::thread thread;
    };
    void wait(int socket) {
        auto assignment = receive_assignment(socket);
        if (!assignment || !assignment.value()) return;
        {
            const MutexLock lock(mutex_);
            taken_.push_back(assignment.value()->config.id);
        }
        for_each_descriptor(assignment.value()->config, [](int& fd) { ::close(fd); });
        (void)confirm_assignment(socket);
    }

    mutable Mutex mutex_;
    std::map<std::string, Played> machines_;
    std::vector<std::string> taken_;
    pid_t last_pid_ = 100;
};

class PlayedLauncher final : public MonitorLauncher {
  public:
    explicit PlayedLauncher(Host& host) : host_(host) {}
    Result<pid_t> launch(const LaunchSpec& spec) override { return host_.launch(spec); }
    Status kill_all(const std::string& id) override {
        host_.end(id);
        return ok();
    }
    Status release(const std::string& id) override {
        host_.end(id);
        return ok();
    }
    Result<HostUsage> usage(const std::string& id) override {
        if (std::ranges::count(host_.names(), id) == 0)
            return Error{ErrorCode::kNotFound, "no such cgroup"};
        return HostUsage{};
    }
    Status limit_cpu(const std::string& id, uint32_t /*percent*/) override {
        host_.limited = id;
        return ok();
    }
    Status limit_memory(const std::string& id, uint64_t /*bytes*/) override {
        host_.limited = id;
        return ok();
    }
    Result<std::vector<std::string>> leftovers() override { return host_.names(); }

  private:
    Host& host_;
};

class StandbysTest : public ::testing::Test {
  protected:
    void SetUp() override {
        char path[] = "/tmp/drupe-standbys-XXXXXX";
        ASSERT_NE(::mkdtemp(path), nullptr);
        root_ = path;
        ASSERT_TRUE(open_file(root_ + "/state", O_RDWR | O_CREAT, 0600));
        ASSERT_TRUE(open_file(root_ + "/other", O_RDWR | O_CREAT, 0600));
    }
    void TearDown() override {
        launcher_.reset();
        standbys_.reset();
        fs::remove_all(root_);
    }
    void open(size_t wanted) {
        standbys_ = std::make_unique<Standbys>(Standbys::Options{folder(), wanted, 1'000'000},
                                               std::make_unique<PlayedLauncher>(host_));
        launcher_ = make_standby_launcher(folder(), std::make_unique<PlayedLauncher>(host_),
                                          standbys_.get());
    }
    [[nodiscard]] std::string folder() const { return root_ + "/standbys"; }
    [[nodiscard]] std::string link_of(const std::string& id) const { return folder() + "/" + id; }

    /// Starts a container as the engine does: from a template, by its state file.
    pid_t start(const std::string& id, const std::string& state = "state",
                uint64_t memory = 512ULL << 20) {
        const Fd file = open_file(root_ + "/" + state, O_RDWR).value();
        LaunchSpec spec;
        spec.config.id = id;
        spec.config.memory_bytes = memory;
        spec.config.kvm_fd = spec.config.kernel_fd = spec.config.initrd_fd = file.get();
        spec.config.restore = {file.get(), file.get()};
        spec.config.control_fd = file.get();
        spec.config.identity.machine_id = std::string(32, 'a');
        spec.config.workload.argv = {"true"};
        spec.log_fd = file.get();
        spec.cpu_percent = 50;
        const auto pid = launcher_->launch(spec);
        EXPECT_TRUE(pid) << pid.error().message;
        return pid ? pid.value() : -1;
    }
    [[nodiscard]] bool await_waiting(size_t count) {
        return eventually([&] { return standbys_->names().size() == count; }) && eventually([&] {
                   return std::ranges::count_if(host_.names(), [](const std::string& name) {
                              return name.starts_with("standby-");
                          }) >= static_cast<long>(count);
               });
    }

    Host host_;
    std::string root_;
    std::unique_ptr<Standbys> standbys_;
    std::unique_ptr<MonitorLauncher> launcher_;
};

TEST_F(StandbysTest, AStartTakesAMachineThatWaitsAndAnotherIsMade) {
    open(2);
    start("first");
    EXPECT_THAT(host_.taken(), ElementsAre());
    ASSERT_TRUE(await_waiting(2));
    start("second");
    EXPECT_THAT(host_.taken(), ElementsAre("second"));
    EXPECT_THAT(host_.names(), Not(Contains("second")));
    const std::string name = fs::read_symlink(link_of("second"));
    EXPECT_THAT(name, StartsWith("standby-"));
    EXPECT_THAT(standbys_->names(), Not(Contains(name)));
    EXPECT_EQ(host_.limited, name);
    ASSERT_TRUE(await_waiting(2));

    EXPECT_TRUE(launcher_->usage("second"));
    EXPECT_THAT(launcher_->leftovers().value(), Contains("second"));
    EXPECT_TRUE(launcher_->limit_cpu("second", 7));
    EXPECT_EQ(host_.limited, name);
    ASSERT_TRUE(launcher_->kill_all("second"));
    ASSERT_TRUE(launcher_->release("second"));
    EXPECT_FALSE(fs::exists(fs::symlink_status(link_of("second"))));
    EXPECT_FALSE(launcher_->usage("second"));
    EXPECT_THAT(launcher_->leftovers().value(), ElementsAre("first"));
}

TEST_F(StandbysTest, OneThatHasDiedCostsALaunchAndNothingElse) {
    open(1);
    start("first");
    ASSERT_TRUE(await_waiting(1));
    host_.kill_waiting();
    start("second");
    EXPECT_THAT(host_.taken(), ElementsAre());
    EXPECT_THAT(host_.names(), Contains("second"));
    EXPECT_FALSE(fs::exists(fs::symlink_status(link_of("second"))));
    EXPECT_TRUE(await_waiting(1));
}

TEST_F(StandbysTest, OnlyAMachineOfTheSameShapeAndTemplateIsTaken) {
    open(1);
    start("first");
    ASSERT_TRUE(await_waiting(1));
    start("of another template", "other");
    start("of another size", "state", 256ULL << 20);
    EXPECT_THAT(host_.taken(), ElementsAre());
    ASSERT_TRUE(await_waiting(3));
    start("like the first");
    start("like the second", "other");
    EXPECT_THAT(host_.taken(), ElementsAre("like the first", "like the second"));
}

TEST_F(StandbysTest, ShapesThatArentStartedAnyMoreHaveNone) {
    open(1);
    std::string oldest;
    for (size_t i = 0; i <= Standbys::kMaxShapes; ++i) {
        start("number " + std::to_string(i), "state", (128 + 2 * i) << 20);
        if (i != 0) continue;
        ASSERT_TRUE(await_waiting(1));
        oldest = *standbys_->names().begin();
    }
    ASSERT_TRUE(eventually([&] { return std::ranges::count(host_.names(), oldest) == 0; }));
    EXPECT_TRUE(await_waiting(Standbys::kMaxShapes));
}

TEST_F(StandbysTest, WhatAnotherDaemonLeftIsLeftoverUnlessWeAreNone) {
    open(1);
    start("first");
    ASSERT_TRUE(await_waiting(1));
    LaunchSpec orphan;
    orphan.config.id = "standby-1";
    (void)host_.launch(orphan);
    EXPECT_THAT(launcher_->leftovers().value(), ElementsAre("first", "standby-1"));
    const auto beside =
        make_standby_launcher(folder(), std::make_unique<PlayedLauncher>(host_), nullptr);
    EXPECT_THAT(beside->leftovers().value(), ElementsAre("first"));
}

TEST_F(StandbysTest, TheyEndWithTheirKeeper) {
    open(2);
    start("first");
    ASSERT_TRUE(await_waiting(2));
    launcher_.reset();
    standbys_.reset();
    EXPECT_THAT(host_.names(), ElementsAre("first"));
}

TEST_F(StandbysTest, NoneIsMadeIfNoneIsWanted) {
    open(0);
    start("first");
    start("second");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_THAT(host_.names(), ElementsAre("first", "second"));
}

}  // namespace
}  // namespace drupe::engine
