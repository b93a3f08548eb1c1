// Machines whose PID 1 is hostile: each ends with a clear reason and exit code 125, and the host
// goes on.

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/boot/running.h"

namespace drupe::testing {
namespace {

using std::chrono::seconds;

/// Machines get the initramfs of an act instead of drupe-init's. Templates of such guests would
/// only take time.
std::map<std::string, std::string> acting(const std::string& act) {
    return {{"DRUPE_INITRD", DRUPE_TEST_BINARY_DIR "/hostile-" + act + ".cpio"},
            {"DRUPE_BOOT", "cold"}};
}

Outcome run_against(const std::string& act, const std::vector<std::string>& options = {}) {
    const OwnDaemon daemon("-hostile", acting(act));
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
    const OwnDaemon daemon("-hostile", acting("silence"));
    Process process(drupe_argv({"run", "--rm", "busybox", "true"}), Process::Io::kPipes);
    EXPECT_FALSE(process.wait_for("anything", seconds(5)));
    process.signal(SIGINT);
    EXPECT_EQ(process.finish(seconds(60)).exit_code, 130);
    EXPECT_EQ(drupe({"ps", "-aq"}).out, "");
}

}  // namespace
}  // namespace drupe::testing
