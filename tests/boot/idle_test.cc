// Machines that have nothing to do and keep of their memory only what is theirs.

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "tests/boot/running.h"

namespace drupe::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Strings = std::vector<std::string>;

const Strings kSmall{"-m", "64m"};
constexpr const char* kSleeps = "touch /ready; while :; do sleep 100000 & wait; done";
/// A copy changes 240 pages before it sleeps, few of them much.
constexpr int kFoldedKib = 500;

TEST(IdleTest, ACopyThatSleepsKeepsWhatDiffersAndAnswersAtOnce) {
    Parent parent(kSleeps, kSmall);
    ASSERT_TRUE(await_in(parent.id(), {"test", "-e", "/ready"}));
    const Strings clones = parent.fork(2);
    for (const std::string& clone : clones) {
        for (int round = 0; round < 3; ++round) {
            ASSERT_TRUE(await_folded(clone));
            EXPECT_EQ(in(clone, "echo $((6*7)); hostname"), "42\n" + clone.substr(0, 12) + "\n");
            EXPECT_FALSE(is_folded(clone));
            const int awake = private_kib(clone);
            ASSERT_TRUE(await_folded(clone));
            EXPECT_LT(private_kib(clone), awake - kFoldedKib);
        }
        EXPECT_EQ(trim(drupe({"inspect", "-f", "{{.State.Status}}", clone}).out), "running");
        EXPECT_TRUE(is_folded(clone)) << "who is only asked about isn't woken";
    }
    EXPECT_EQ(drupe({"stop", "-t", "1", clones[0]}).exit_code, 0);
    EXPECT_EQ(drupe({"kill", clones[1]}).exit_code, 0);
}

TEST(IdleTest, WhatIsDoneWithAMachineIsDoneWithAllOfItsMemory) {
    Parent parent(std::string("head -c 1000000 /dev/urandom > /dev/shm/a; ") + kSleeps, kSmall);
    ASSERT_TRUE(await_in(parent.id(), {"test", "-e", "/ready"}));
    const std::string sum = in(parent.id(), "md5sum < /dev/shm/a");
    const std::string clone = parent.fork(1).at(0);
    EXPECT_EQ(in(clone, "echo mine > /dev/shm/b; cat /dev/shm/b"), "mine\n");
    const auto whole = [&sum](const std::string& container) {
        return in(container, "md5sum < /dev/shm/a; cat /dev/shm/b") == sum + "mine\n";
    };

    ASSERT_TRUE(await_folded(clone));
    const Outcome copied = drupe({"fork", clone});
    ASSERT_EQ(copied.exit_code, 0) << copied.err;
    const std::string copy = trim(copied.out);
    EXPECT_TRUE(whole(copy));

    ASSERT_TRUE(await_folded(clone));
    EXPECT_EQ(drupe({"snapshot", "create", clone, "asleep"}).exit_code, 0);
    ASSERT_TRUE(await_folded(clone));
    EXPECT_EQ(drupe({"commit", clone, "of-an-idle-one"}).exit_code, 0);
    EXPECT_EQ(drupe({"rmi", "of-an-idle-one"}).exit_code, 0);
    EXPECT_EQ(in(clone, "echo lost > /dev/shm/b; cat /dev/shm/b"), "lost\n");
    ASSERT_TRUE(await_folded(clone));
    EXPECT_EQ(drupe({"rollback", clone, "asleep"}).exit_code, 0);
    EXPECT_TRUE(whole(clone));

    EXPECT_EQ(drupe({"pause", clone}).exit_code, 0);
    ASSERT_TRUE(await_folded(clone));
    EXPECT_EQ(trim(drupe({"inspect", "-f", "{{.State.Status}}", clone}).out), "paused");
    EXPECT_EQ(drupe({"unpause", clone}).exit_code, 0);
    EXPECT_TRUE(whole(clone));
    EXPECT_EQ(drupe({"rm", "-f", copy}).exit_code, 0);
}

TEST(IdleTest, ItCanBeSwitchedOff) {
    const OwnDaemon daemon("-keeps-ram", {{"DRUPE_IDLE_MEMORY", "off"}});
    Parent parent(kSleeps, kSmall);
    ASSERT_TRUE(await_in(parent.id(), {"test", "-e", "/ready"}));
    const std::string clone = parent.fork(1).at(0);
    for (int i = 0; i < 16; ++i) {
        EXPECT_FALSE(is_folded(clone));
        std::this_thread::sleep_for(milliseconds(500));
    }
}

/// Works for a moment and sleeps for some seconds, on two CPUs: what it has written must be there,
/// and what it wakes up for must come when it was to.
constexpr const char* kWorksNowAndThen = R"(
    cd /dev/shm; echo seed > a; md5sum a > sums; touch /ready
    (while :; do sleep 13; echo beat >> beats; done) &
    i=0
    while :; do
      t=$(cut -d. -f1 /proc/uptime)
      sleep 8
      d=$(( $(cut -d. -f1 /proc/uptime) - t ))
      [ $d -le 12 ] || echo "slept $d s"
      md5sum -c sums > out 2>&1 || cat out
      i=$((i+1)); head -c $((i * 3001)) /dev/urandom > f$((i % 3))
      md5sum a f* > sums
      echo "round $i"
    done)";

TEST(IdleTest, NothingIsLostByAGuestThatWorksNowAndThen) {
    Parent parent(kWorksNowAndThen, {"--cpus", "2", "-m", "64m"});
    ASSERT_TRUE(await_in(parent.id(), {"test", "-e", "/ready"}));
    const Strings clones = parent.fork(3);
    int folded = 0;
    for (int i = 0; i < 120; ++i) {
        std::this_thread::sleep_for(milliseconds(700));
        for (const std::string& clone : clones) folded += is_folded(clone) ? 1 : 0;
    }
    EXPECT_GT(folded, 30);
    for (const std::string& clone : clones) {
        const Strings lines = await_log(clone, 5);
        ASSERT_GE(lines.size(), 5U);
        const int first = std::stoi(lines.at(0).substr(6));
        for (size_t i = 0; i < lines.size(); ++i)
            EXPECT_EQ(lines[i], "round " + std::to_string(first + static_cast<int>(i)));
        EXPECT_NE(in(clone, "cat /dev/shm/beats").find("beat"), std::string::npos);
    }
}

}  // namespace
}  // namespace drupe::testing
