// Copies of running machines, by a real kernel.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "tests/boot/running.h"

namespace drupe::testing {
namespace {

using std::chrono::seconds;
using Strings = std::vector<std::string>;

TEST(ForkTest, CopiesGoOnWhereTheirParentWas) {
    Parent parent("i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done");
    ASSERT_GE(await_log(parent.id(), 3).size(), 3U);
    const Strings clones = parent.fork(2);
    const size_t before = await_log(parent.id(), 1).size();
    for (const std::string& clone : clones) {
        const Strings lines = await_log(clone, 3);
        ASSERT_GE(lines.size(), 3U);
        const int first = std::stoi(lines[0]);
        EXPECT_GE(first, 3) << "it started anew";
        EXPECT_LE(first, static_cast<int>(before) + 2);
        for (size_t i = 0; i < lines.size(); ++i)
            EXPECT_EQ(lines[i], std::to_string(first + static_cast<int>(i)));
    }
    const Strings all = await_log(parent.id(), before + 2);
    for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], std::to_string(i + 1));
}

TEST(ForkTest, EachIsSomebodyOfItsOwn) {
    Parent parent("while :; do sleep 1000 & wait; done");
    const std::string ask =
        "hostname; cat /etc/hostname /proc/sys/kernel/random/uuid; "
        "head -c 16 /dev/urandom | md5sum; date +%s; cut -d. -f1 /proc/uptime";
    const int before = std::stoi(lines_of(in(parent.id(), ask)).at(5));
    const Strings clones = parent.fork(3);
    std::vector<std::set<std::string>> seen(4);
    Strings all = clones;
    all.push_back(parent.id());
    for (const std::string& container : all) {
        const Strings lines = lines_of(in(container, ask));
        ASSERT_EQ(lines.size(), 6U);
        EXPECT_EQ(lines[0], container.substr(0, 12));
        EXPECT_EQ(lines[1], lines[0]);
        for (size_t i = 0; i < seen.size(); ++i)
            EXPECT_TRUE(seen[i].insert(lines[i]).second) << lines[i] << " twice";
        const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
        EXPECT_NEAR(std::stod(lines[4]), static_cast<double>(now), 10);
        EXPECT_GE(std::stoi(lines[5]), before) << "monotonic time went back";
    }
}

void expect_own_machine_ids(const Strings& containers) {
    std::set<std::string> ids;
    for (const std::string& container : containers) {
        const std::string id = trim(in(container, "cat /etc/machine-id"));
        EXPECT_EQ(id.size(), 32U) << id;
        EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos) << id;
        EXPECT_TRUE(ids.insert(id).second) << id << " twice";
    }
}

TEST(ForkTest, AMachineIdThatAContainerHasMadeIsntItsCopies) {
    Parent parent("while :; do sleep 1000 & wait; done");
    (void)in(parent.id(), "tr -d - < /proc/sys/kernel/random/uuid > /etc/machine-id");
    Strings all = parent.fork(2);
    all.push_back(parent.id());
    expect_own_machine_ids(all);
}

TEST(ForkTest, EachHasAMachineIdAndALineInHostsOfItsOwn) {
    constexpr const char* kImage = "with-machine-id";
    const Outcome made = drupe({"run", "-d", "busybox", "touch", "/etc/machine-id"});
    ASSERT_EQ(made.exit_code, 0) << made.err;
    EXPECT_EQ(trim(drupe({"wait", trim(made.out)}).out), "0");
    ASSERT_EQ(drupe({"commit", trim(made.out), kImage}).exit_code, 0);
    const Outcome started = drupe({"run", "-d", kImage, "sleep", "100000"});
    ASSERT_EQ(started.exit_code, 0) << started.err;
    Strings all{trim(started.out)};
    const Outcome forked = drupe({"fork", "-n", "2", all[0]});
    EXPECT_EQ(forked.exit_code, 0) << forked.err;
    for (const std::string& id : lines_of(forked.out)) all.push_back(id);
    ASSERT_EQ(all.size(), 3U);
    expect_own_machine_ids(all);
    for (const std::string& container : all) {
        const std::string hosts = in(container, "cat /etc/hosts");
        for (const std::string& other : all) {
            const bool named = hosts.find(other.substr(0, 12)) != std::string::npos;
            EXPECT_EQ(named, other == container) << hosts;
        }
    }
    for (const std::string& id : all) EXPECT_EQ(drupe({"rm", "-f", id}).exit_code, 0);
    EXPECT_EQ(drupe({"rm", trim(made.out)}).exit_code, 0);
    EXPECT_EQ(drupe({"rmi", kImage}).exit_code, 0);
}

/// What its memory has there, by a snapshot of it.
std::string generation_id(const std::string& container) {
    constexpr std::streamoff kPlace = 0xa0000;
    EXPECT_EQ(drupe({"snapshot", "create", container, "looked-at"}).exit_code, 0);
    std::string id(16, '\0');
    std::ifstream(saved_by(container) / "memory", std::ios::binary)
        .seekg(kPlace)
        .read(id.data(), static_cast<std::streamsize>(id.size()));
    return id;
}

TEST(ForkTest, EachKernelHearsThatItIsACopyAndReseeds) {
    Parent parent("while :; do sleep 1000 & wait; done");
    const auto reseeds = [](const std::string& container) {
        return std::stoi(
            in(container, "dmesg | grep -c 'crng reseeded due to virtual machine fork' || true"));
    };
    const int before = restores_heard(parent.id());
    EXPECT_EQ(reseeds(parent.id()), before);
    const Strings clones = parent.fork(2);
    std::set<std::string> ids{std::string(16, '\0')};
    for (const std::string& clone : clones) {
        EXPECT_EQ(restores_heard(clone), before + 1);
        EXPECT_EQ(reseeds(clone), before + 1);
        EXPECT_TRUE(ids.insert(generation_id(clone)).second) << "it has the other's";
    }
    EXPECT_EQ(restores_heard(parent.id()), before);
    EXPECT_TRUE(ids.insert(generation_id(parent.id())).second) << "a copy has its parent's";
    const Outcome again = drupe({"fork", clones[0]});
    ASSERT_EQ(again.exit_code, 0) << again.err;
    EXPECT_EQ(restores_heard(trim(again.out)), before + 2);
    EXPECT_EQ(drupe({"rm", "-f", trim(again.out)}).exit_code, 0);
}

/// What its monitor wrote about it at its end.
std::string record_of_killed(const std::string& id) {
    EXPECT_EQ(drupe({"kill", id}).exit_code, 0);
    const char* const root = std::getenv("DRUPE_ROOT");
    std::ifstream file(std::string(root != nullptr ? root : "/var/lib/drupe") + "/containers/" +
                       id + "/exit.json");
    std::string record(std::istreambuf_iterator<char>(file), {});
    EXPECT_NE(record.find("\"restored\""), std::string::npos) << record;
    return record;
}

TEST(ForkTest, WhatTheFirstCopyNeededTheOthersAreGivenBeforehand) {
    Parent parent("while :; do sleep 1000 & wait; done");
    const Strings clones = parent.fork(3);
    for (const std::string& clone : clones) {
        const bool prefetched = record_of_killed(clone).find("\"prefetched\"") != std::string::npos;
        EXPECT_EQ(prefetched, clone != clones[0]) << clone;
    }
}

TEST(ForkTest, WhatOneWritesNobodyElseSees) {
    Parent parent(
        "echo base > /file; echo base > /dev/shm/file; while :; do sleep 1000 & wait; done");
    ASSERT_TRUE(await_in(parent.id(), {"test", "-s", "/dev/shm/file"}));
    const Strings clones = parent.fork(2);
    EXPECT_EQ(in(clones[0], "echo one | tee /file > /dev/shm/file; cat /file /dev/shm/file"),
              "one\none\n");
    EXPECT_EQ(in(clones[1], "cat /file /dev/shm/file"), "base\nbase\n");
    EXPECT_EQ(in(parent.id(), "cat /file /dev/shm/file"), "base\nbase\n");
    // A copy's copy, and a copy that starts again from its disk.
    const Outcome again = drupe({"fork", clones[0]});
    ASSERT_EQ(again.exit_code, 0) << again.err;
    EXPECT_EQ(in(trim(again.out), "cat /file"), "one\n");
    EXPECT_EQ(drupe({"rm", "-f", trim(again.out)}).exit_code, 0);
    EXPECT_EQ(drupe({"restart", "-t", "0", clones[0]}).exit_code, 0);
    EXPECT_EQ(in(clones[0], "ls /file"), "/file\n");
}

/// Of all of a process's threads.
uint64_t wake_ups(const std::string& pid) {
    constexpr std::string_view kCount = "voluntary_ctxt_switches:";
    uint64_t sum = 0;
    for (const auto& task : std::filesystem::directory_iterator("/proc/" + pid + "/task")) {
        std::ifstream status(task.path() / "status");
        for (std::string line; std::getline(status, line);)
            if (line.starts_with(kCount)) sum += std::stoull(line.substr(kCount.size()));
    }
    return sum;
}

TEST(ForkTest, AnIdleCopySleeps) {
    Parent parent("touch /ready; while :; do sleep 1000 & wait; done");
    ASSERT_TRUE(await_in(parent.id(), {"test", "-e", "/ready"}));
    const Strings clones = parent.fork(1);
    const std::string pid = trim(drupe({"inspect", "-f", "{{.State.Pid}}", clones[0]}).out);
    // With the settings that a kernel has by itself it is woken 4.5 times a second for ever.
    constexpr uint64_t kWatchedS = 5;
    uint64_t woken = UINT64_MAX;
    for (int i = 0; i < 12 && woken > kWatchedS; ++i) {
        const uint64_t before = wake_ups(pid);
        EXPECT_GT(before, 0U);
        std::this_thread::sleep_for(seconds(kWatchedS));
        woken = wake_ups(pid) - before;
    }
    EXPECT_LE(woken, kWatchedS);
}

TEST(ForkTest, MemoryThatACopyHasFreedIsTheHostsAgain) {
    Parent parent("touch /ready; while :; do sleep 1000 & wait; done", kLargeShm);
    ASSERT_TRUE(await_in(parent.id(), {"test", "-e", "/ready"}));
    for (const std::string& clone : parent.fork(1)) expect_freed_memory_returns(clone);
}

TEST(ForkTest, HooksOfTheImageRunInCopiesAlone) {
    Parent parent(
        "mkdir -p /etc/drupe/on-fork.d; cd /etc/drupe/on-fork.d; "
        "echo '#!/bin/sh' > hook; echo 'hostname > /forked' >> hook; chmod 755 hook; "
        "touch /ready; while :; do sleep 1000 & wait; done");
    ASSERT_TRUE(await_in(parent.id(), {"test", "-e", "/ready"}));
    const Strings clones = parent.fork(1);
    ASSERT_TRUE(await_in(clones[0], {"test", "-s", "/forked"}));
    EXPECT_EQ(trim(in(clones[0], "cat /forked")), clones[0].substr(0, 12));
    EXPECT_NE(drupe({"exec", parent.id(), "test", "-e", "/forked"}).exit_code, 0);
}

TEST(ForkTest, ATerminalsCopyCanBeTypedInto) {
    Process first(drupe_argv({"run", "-it", "--name", "typed", "busybox", "sh"}),
                  Process::Io::kTerminal);
    ASSERT_TRUE(first.wait_for("# ", seconds(60)));
    first.write("value=41\n");
    first.write("echo set $value\n");
    ASSERT_TRUE(first.wait_for("set 41", seconds(60)));
    ASSERT_EQ(drupe({"fork", "--name", "typed-copy", "typed"}).exit_code, 0);
    Process copy(drupe_argv({"attach", "typed-copy"}), Process::Io::kTerminal);
    copy.write("echo copy $((value + 1))\n");
    EXPECT_TRUE(copy.wait_for("copy 42", seconds(60)));
    first.write("echo parent $((value - 1))\n");
    EXPECT_TRUE(first.wait_for("parent 40", seconds(60)));
    copy.write("exit 5\n");
    EXPECT_EQ(copy.finish(seconds(60)).exit_code, 5);
    first.write("exit 6\n");
    EXPECT_EQ(first.finish(seconds(60)).exit_code, 6);
    EXPECT_EQ(drupe({"rm", "-f", "typed", "typed-copy"}).exit_code, 0);
}

TEST(ForkTest, ProgramsBesideTheWorkloadStayWithTheParent) {
    Parent parent("while :; do sleep 1000 & wait; done");
    Process beside(drupe_argv({"exec", parent.id(), "sh", "-c", "echo here; sleep 3; echo end"}),
                   Process::Io::kPipes);
    ASSERT_TRUE(beside.wait_for("here", seconds(60)));
    const Strings clones = parent.fork(1);
    const std::string processes = in(clones[0], "ps -o args | grep -c '[s]leep 3' || true");
    EXPECT_EQ(processes, "0\n");
    const Outcome ended = beside.finish(seconds(60));
    EXPECT_EQ(ended.exit_code, 0);
    EXPECT_NE(ended.out.find("end"), std::string::npos);
}

TEST(LiveImageTest, WhatItsFirstContainerNeededTheNextOneIsGivenBeforehand) {
    Parent parent("i=0; while [ $i -lt 25 ]; do i=$((i+1)); echo $i; sleep 0.2; done; sleep 1000");
    ASSERT_GE(await_log(parent.id(), 5).size(), 5U);
    ASSERT_EQ(drupe({"commit", "--live", parent.id(), "live:known"}).exit_code, 0);
    const auto record_of_one = [] {
        EXPECT_EQ(drupe({"run", "-d", "--name", "live-k", "live:known"}).exit_code, 0);
        EXPECT_GE(await_log("live-k", 10).size(), 10U);  // seconds: it has been looked at
        std::string record =
            record_of_killed(trim(drupe({"inspect", "-f", "{{.Id}}", "live-k"}).out));
        EXPECT_EQ(drupe({"rm", "live-k"}).exit_code, 0);
        return record;
    };
    EXPECT_EQ(record_of_one().find("\"prefetched\""), std::string::npos);
    EXPECT_NE(record_of_one().find("\"prefetched\""), std::string::npos);
    EXPECT_EQ(drupe({"rmi", "live:known"}).exit_code, 0);
}

TEST(LiveImageTest, ItsContainersGoOnFromItsMemory) {
    Parent parent("i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done");
    ASSERT_GE(await_log(parent.id(), 5).size(), 5U);
    ASSERT_EQ(drupe({"commit", "--live", parent.id(), "live:1"}).exit_code, 0);
    for (const std::string name : {"live-a", "live-b"}) {
        const Outcome started = drupe({"run", "-d", "--name", name, "live:1"});
        ASSERT_EQ(started.exit_code, 0) << started.err;
        const Strings lines = await_log(name, 2);
        ASSERT_GE(lines.size(), 2U);
        EXPECT_GE(std::stoi(lines[0]), 5) << "it started anew";
        EXPECT_EQ(std::stoi(lines[1]), std::stoi(lines[0]) + 1);
        EXPECT_NE(trim(in(name, "hostname")), parent.id().substr(0, 12));
        EXPECT_EQ(restores_heard(name), restores_heard(parent.id()) + 1);
    }
    EXPECT_EQ(drupe({"run", "--rm", "live:1", "echo", "another command"}).out, "another command\n");
    EXPECT_EQ(drupe({"rm", "-f", "live-a", "live-b"}).exit_code, 0);
    EXPECT_EQ(drupe({"rmi", "live:1"}).exit_code, 0);
    EXPECT_NE(drupe({"run", "--rm", "--pull", "never", "live:1"}).exit_code, 0);
}

TEST(LiveImageTest, ItsDiskAloneHasWhatWasWrittenToo) {
    Parent parent("while :; do sleep 1000 & wait; done");
    (void)in(parent.id(), "mkdir /data; echo fresh > /data/f");
    ASSERT_EQ(drupe({"commit", "--live", parent.id(), "live:disk"}).exit_code, 0);
    EXPECT_EQ(drupe({"run", "--rm", "live:disk", "cat", "/data/f"}).out, "fresh\n");
    EXPECT_EQ(in(parent.id(), "echo on > /data/f; cat /data/f"), "on\n");
    EXPECT_EQ(drupe({"rmi", "live:disk"}).exit_code, 0);
}

// The disk must be what the memory of the same moment believes it to be: not ahead of it, and with
// all that it knows to be there. Numbers are written in place: a file is never empty.
TEST(ForkTest, TheDiskIsNeverAheadOfWhatMemoryKnew) {
    Parent parent(
        "i=10000000; echo $i > /dev/shm/ram; echo $i > /disk; sync; while :; do i=$((i+1)); "
        "echo $i 1<> /dev/shm/ram; echo $i 1<> /disk; sync /disk; done",
        {"--privileged"});
    ASSERT_TRUE(await_in(parent.id(), {"test", "-s", "/disk"}));
    for (int i = 0; i < repetitions(5, 200); ++i) {
        const Strings clones = parent.fork(1);
        ASSERT_EQ(clones.size(), 1U);
        // The counting goes on between the three.
        const std::string said = in(clones[0],
                                    "cat /dev/shm/ram; echo 3 > /proc/sys/vm/drop_caches; cat "
                                    "/disk /dev/shm/ram; dmesg | grep -c EXT4-fs.error || true");
        SCOPED_TRACE("fork " + std::to_string(i) + ": " + said);
        const Strings lines = lines_of(said);
        ASSERT_EQ(lines.size(), 4U);
        for (const std::string& line : lines)
            ASSERT_EQ(line.find_first_not_of("0123456789"), std::string::npos);
        EXPECT_GE(std::stoi(lines[1]) + 1, std::stoi(lines[0])) << "the disk lost a write";
        EXPECT_LE(std::stoi(lines[1]), std::stoi(lines[2])) << "the disk is ahead";
        EXPECT_EQ(lines[3], "0");
        parent.remove(clones[0]);
    }
}

}  // namespace
}  // namespace drupe::testing
