// Machines that go on from a template, by a real kernel.

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "tests/boot/running.h"

namespace drupe::testing {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;
using Arguments = std::vector<std::string>;

bool from_template(const Outcome& outcome) {
    return outcome.err.find("template restore") != std::string::npos ||
           outcome.err.find("standby's hand-over") != std::string::npos;
}
bool stood_by(const Outcome& outcome) {
    return outcome.err.find("standby's hand-over") != std::string::npos;
}

Arguments run_words(const Arguments& options, const std::string& script) {
    Arguments words{"run", "--rm", "--timing"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {"busybox", "sh", "-c", script});
    return words;
}

/// Runs until a machine of this shape began as `wanted` says.
void await(bool (*wanted)(const Outcome&), const Arguments& options,
           std::chrono::milliseconds pause) {
    const auto limit = std::chrono::steady_clock::now() + seconds(120);
    for (;;) {
        const Outcome outcome = drupe(run_words(options, "true"));
        ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
        if (wanted(outcome)) return;
        ASSERT_LT(std::chrono::steady_clock::now(), limit) << outcome.err;
        std::this_thread::sleep_for(pause);
    }
}
void await_template(const Arguments& options = {}) {
    await(from_template, options, std::chrono::milliseconds(200));
}
/// The pause is for the next one to be made.
void await_standby(const Arguments& options = {}) {
    await(stood_by, options, seconds(1));
}

/// Files of the templates that are ready.
std::vector<fs::path> files(const std::string& name) {
    const char* const named = std::getenv("DRUPE_ROOT");
    const std::string root = named != nullptr ? named : "/var/lib/drupe";
    std::vector<fs::path> found;
    for (const auto& entry : fs::recursive_directory_iterator(root + "/templates"))
        if (entry.path().filename() == name) found.push_back(entry.path());
    return found;
}

TEST(TemplateTest, AContainerThatSleepsHasLittleOfItsOwn) {
    await_template();
    const Running container;
    ASSERT_TRUE(await_folded(container.id()));
    EXPECT_LT(private_kib(container.id()), 3500) << "what its processes have read and written";
    EXPECT_EQ(in(container.id(), "echo here"), "here\n");
    EXPECT_LT(private_kib(container.id()), 8192) << "awake";
}

TEST(TemplateTest, TheSecondMachineOfAShapeGoesOnFromOne) {
    await_template();
    const Outcome outcome = drupe(run_words({}, "echo out; echo err >&2; exit 7"));
    EXPECT_TRUE(from_template(outcome)) << outcome.err;
    EXPECT_EQ(outcome.out, "out\n");
    EXPECT_NE(outcome.err.find("err\n"), std::string::npos);
    EXPECT_EQ(outcome.exit_code, 7);
    const Outcome cold = drupe(run_words({"--boot", "cold"}, "true"));
    EXPECT_FALSE(from_template(cold)) << cold.err;
    EXPECT_NE(cold.err.find("kernel load"), std::string::npos) << cold.err;
}

TEST(TemplateTest, EachMachineIsSomebodyOfItsOwn) {
    await_template();
    const std::string script =
        "hostname; cat /proc/sys/kernel/random/uuid "
        "/proc/sys/kernel/random/boot_id; "
        "head -c 16 /dev/urandom | md5sum; "
        "date +%s";
    constexpr int kMachines = 4;
    std::vector<std::set<std::string>> seen(4);
    for (int i = 0; i < kMachines; ++i) {
        const Outcome outcome = drupe(run_words({}, script));
        ASSERT_TRUE(from_template(outcome)) << outcome.err;
        std::istringstream lines(outcome.out);
        std::string line;
        for (auto& values : seen) {
            ASSERT_TRUE(std::getline(lines, line)) << outcome.out;
            EXPECT_TRUE(values.insert(line).second) << line << " twice";
        }
        ASSERT_TRUE(std::getline(lines, line)) << outcome.out;
        const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
        EXPECT_NEAR(std::stod(line), static_cast<double>(now), 10) << "the guest's clock";
    }
}

TEST(TemplateTest, TwoProcessorsRunOnAndTheirClocksOnlyGoForward) {
    const Arguments two{"--cpus", "2"};
    await_template(two);
    const std::string script =
        "nproc; for cpu in 0 1; do taskset -c $cpu sh -c 'last=0; for i in $(seq 200); do "
        "read now rest < /proc/uptime; now=${now%.*}${now#*.}; [ $now -ge $last ] || echo back; "
        "last=$now; done; echo done' & done; wait";
    const Outcome outcome = drupe(run_words(two, script));
    ASSERT_TRUE(from_template(outcome)) << outcome.err;
    EXPECT_EQ(outcome.out, "2\ndone\ndone\n");
}

TEST(TemplateTest, AMachineThatWaitedIsAContainersLikeAnyOther) {
    const Arguments limits{"-m", "128m", "--cpus", "0.5"};
    await_standby(limits);
    std::this_thread::sleep_for(seconds(2));  // for the next one
    const Running machine(limits);
    EXPECT_EQ(trim(in(machine.id(), "hostname")), machine.id().substr(0, 12));
    EXPECT_EQ(restores_heard(machine.id()), 1);
    EXPECT_EQ(trim(in(machine.id(), "cat /sys/fs/cgroup/memory.max")), std::to_string(128 << 20));
    const Outcome user = drupe({"inspect", "-f", "{{.Drupe.MonitorUser}}", machine.id()});
    EXPECT_GE(std::stoi(user.out), 190'000) << "it didn't wait";
    EXPECT_LT(std::stoi(user.out), 199'999) << "it didn't wait";
    std::ifstream file("/proc/" + std::to_string(machine.monitor_pid()) + "/cgroup");
    std::string cgroup;
    std::getline(file, cgroup);
    std::ifstream limit("/sys/fs/cgroup" + cgroup.substr(cgroup.rfind(':') + 1) + "/cpu.max");
    std::string quota;
    limit >> quota;
    EXPECT_EQ(quota, "50000");
    EXPECT_NE(drupe({"stats", "--no-stream", machine.id()}).out.find("128MiB"), std::string::npos);
    const Outcome gone = drupe({"rm", "-f", machine.id()});
    EXPECT_EQ(gone.exit_code, 0) << gone.err;
    EXPECT_FALSE(fs::exists("/sys/fs/cgroup" + cgroup.substr(cgroup.rfind(':') + 1)));
}

TEST(TemplateTest, MemoryThatAGuestHasFreedIsTheHostsAgain) {
    await_template();
    const Running restored(kLargeShm);
    expect_freed_memory_returns(restored.id());
    Arguments cold{"--boot", "cold"};
    cold.insert(cold.end(), kLargeShm.begin(), kLargeShm.end());
    const Running booted(cold);
    expect_freed_memory_returns(booted.id());
}

TEST(TemplateTest, MachinesThatDieWhileTheyWaitCostALaunch) {
    await_standby();
    std::this_thread::sleep_for(seconds(2));
    for (const auto& entry : fs::recursive_directory_iterator("/sys/fs/cgroup"))
        if (entry.path().filename().string().starts_with("standby-"))
            std::ofstream(entry.path() / "cgroup.kill") << 1;
    const Outcome outcome = drupe(run_words({}, "echo alive"));
    EXPECT_EQ(outcome.out, "alive\n") << outcome.err;
    EXPECT_FALSE(stood_by(outcome)) << outcome.err;
    await_standby();
}

TEST(TemplateTest, OneThatWasDamagedCostsABootAndIsMadeAnew) {
    // Machines that wait have gone on from it before.
    const OwnDaemon daemon("-damaged", {{"DRUPE_STANDBY", "0"}});
    await_template();
    const auto cut = [](const fs::path& file) { fs::resize_file(file, fs::file_size(file) / 2); };
    const auto flip = [](const fs::path& file) {
        std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
        bytes.seekp(static_cast<std::streamoff>(fs::file_size(file) / 3));
        bytes.put('\x5a');
    };
    for (const std::string what : {"cut state", "flipped state", "cut memory"}) {
        SCOPED_TRACE(what);
        await_template();
        for (const fs::path& file : files(what == "cut memory" ? "memory" : "state"))
            what == "flipped state" ? flip(file) : cut(file);
        const Outcome outcome = drupe(run_words({}, "echo alive"));
        EXPECT_EQ(outcome.out, "alive\n") << outcome.err;
        EXPECT_FALSE(from_template(outcome));
        EXPECT_EQ(outcome.exit_code, 0);
    }
    await_template();
}

TEST(TemplateTest, ManyAtOnceEachHaveTheirOwn) {
    await_template();
    constexpr int kMachines = 10;
    std::vector<std::string> outputs(kMachines);
    std::vector<std::thread> threads;
    threads.reserve(kMachines);
    for (int i = 0; i < kMachines; ++i) {
        threads.emplace_back([&outputs, i] {
            const std::string text = std::to_string(i);
            outputs[static_cast<size_t>(i)] =
                trim(drupe(run_words({}, "echo " + text + " > /file; cat /file")).out);
        });
    }
    for (std::thread& thread : threads) thread.join();
    for (int i = 0; i < kMachines; ++i)
        EXPECT_EQ(outputs[static_cast<size_t>(i)], std::to_string(i));
}

}  // namespace
}  // namespace drupe::testing
