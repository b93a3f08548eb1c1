// Machines whose PID 1 is hostile: each ends with a clear reason and exit code 125, and the host
// goes on.

#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/boot/running.h"

namespace drupe::testing {
namespace {

using std::chrono::seconds;

/// While it lives, commands work in a root folder of their own, where machines get the initramfs of
/// an act instead of drupe-init's.
class HostileRoot {
  public:
    explicit HostileRoot(const std::string& act) {
        const std::string initrd = DRUPE_TEST_BINARY_DIR "/hostile-" + act + ".cpio";
        ::setenv("DRUPE_INITRD", initrd.c_str(), 1);
        ::setenv("DRUPE_ROOT", (base_ + "-hostile").c_str(), 1);
        ::setenv("DRUPE_BOOT", "cold", 1);  // templates of such guests would only take time
    }
    HostileRoot(const HostileRoot&) = delete;
    HostileRoot& operator=(const HostileRoot&) = delete;
    ~HostileRoot() {
        end_daemon();
        ::unsetenv("DRUPE_INITRD");
        ::unsetenv("DRUPE_BOOT");
        had_root_ ? ::setenv("DRUPE_ROOT", base_.c_str(), 1) : ::unsetenv("DRUPE_ROOT");
    }

  private:
    bool had_root_ = ::getenv("DRUPE_ROOT") != nullptr;
    std::string base_ = had_root_ ? ::getenv("DRUPE_ROOT") : "/var/lib/drupe";
};

Outcome run_against(const std::string& act, const std::vector<std::string>& options = {}) {
    const HostileRoot root(act);
    std::vector<std::string> arguments{"run", "--rm"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    for (const char* word : {"busybox", "true"}) arguments.emplace_back(word);
    return drupe(arguments, "", seconds(180));
}

void expect_end(const Outcome& outcome, const std::string& reason) {
    EXPECT_EQ(outcome.exit_code, 125) << outcome.err;
    EXPECT_NE(outcome.err.find(reason), std::string::npos) << outcome.err;
    EXPECT_LT(outcome.err.size(), 16U << 10);
}

TEST(HostileGuestTest, APanicAResetAndAPowerOffAreToldApart) {
    expect_end(run_against("panic"), "panicked: \"Attempted to kill init!");
    expect_end(run_against("reset"), "reset");
    expect_end(run_against("power-off"), "power-off");
}

TEST(HostileGuestTest, AnAgentThatBreaksTheProtocolIsHungUpOn) {
    expect_end(run_against("garbage"), "agent");
    expect_end(run_against("giant-frame"), "agent");
    expect_end(run_against("halt"), "halted without being told to");
}

TEST(HostileGuestTest, AFloodOfConnectionsEndsThatMachineAndNoOther) {
    const Running neighbour;
    expect_end(run_against("flood"), "agent");
    EXPECT_EQ(drupe({"exec", neighbour.id(), "echo", "fine"}).out, "fine\n");
}

TEST(HostileGuestTest, AFloodedConsoleDoesNotGrowTheHost) {
    const Outcome outcome = run_against("console-flood", {"--console"});
    EXPECT_EQ(outcome.exit_code, 125);
    EXPECT_LT(outcome.err.size(), 1U << 20);
}

TEST(HostileGuestTest, AMachineThatNeverSpeaksCanBeEnded) {
    const HostileRoot root("silence");
    Process process(drupe_argv({"run", "--rm", "busybox", "true"}), Process::Io::kPipes);
    EXPECT_FALSE(process.wait_for("anything", seconds(5)));
    process.signal(SIGINT);
    EXPECT_EQ(process.finish(seconds(60)).exit_code, 130);
    EXPECT_EQ(drupe({"ps", "-aq"}).out, "");
}

}  // namespace
}  // namespace drupe::testing
