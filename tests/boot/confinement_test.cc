// What the host sees of a running monitor: the promises of docs/security.md, item by item.

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <map>
#include <set>

#include "base/fd.h"
#include "tests/boot/running.h"

namespace drupe::testing {
namespace {

std::vector<std::string> list(const std::string& folder) {
    std::vector<std::string> names;
    DIR* dir = ::opendir(folder.c_str());
    while (dir != nullptr) {
        const dirent* entry = ::readdir(dir);
        if (entry == nullptr) break;
        const std::string name = entry->d_name;
        if (name != "." && name != "..") names.push_back(name);
    }
    if (dir != nullptr) ::closedir(dir);
    return names;
}

std::string link_target(const std::string& path) {
    std::array<char, 4096> buffer;
    const ssize_t n = ::readlink(path.c_str(), buffer.data(), buffer.size());
    return std::string(buffer.data(), static_cast<size_t>(std::max<ssize_t>(n, 0)));
}

/// The fields of a /proc/.../status or smaps_rollup file.
std::map<std::string, std::string> fields(const std::string& path) {
    std::map<std::string, std::string> result;
    const std::string text = read_file(path, 1 << 20).value();
    for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        const std::string line = text.substr(at, end - at);
        const size_t colon = line.find(':');
        if (colon != std::string::npos) {
            const size_t value = line.find_first_not_of(" \t", colon + 1);
            result[line.substr(0, colon)] = value == std::string::npos ? "" : line.substr(value);
        }
        at = end + 1;
    }
    return result;
}

class ConfinementTest : public ::testing::Test {
  protected:
    void SetUp() override {
        ASSERT_GT(machine_.monitor_pid(), 1);
        proc_ = "/proc/" + std::to_string(machine_.monitor_pid());
    }
    Running machine_{{"-m", "64m"}};  // which gets 128 MiB of RAM
    std::string proc_;
};

TEST_F(ConfinementTest, EveryThreadIsUnprivilegedAndFiltered) {
    const auto threads = list(proc_ + "/task");
    EXPECT_GE(threads.size(), 3U);
    for (const std::string& thread : threads) {
        const auto status = fields(proc_ + "/task/" + thread + "/status");
        EXPECT_NE(std::stoul(status.at("Uid")), 0U);
        EXPECT_NE(std::stoul(status.at("Gid")), 0U);
        EXPECT_EQ(status.at("Seccomp"), "2") << status.at("Name");
        EXPECT_EQ(status.at("NoNewPrivs"), "1");
        EXPECT_EQ(status.at("Groups").find_first_not_of(" \t"), std::string::npos);
        for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"})
            EXPECT_EQ(std::stoull(status.at(set), nullptr, 16), 0U) << set;
    }
}

TEST_F(ConfinementTest, SixNamespacesAreItsOwn) {
    for (const char* name : {"user", "mnt", "pid", "net", "ipc", "uts"}) {
        EXPECT_NE(link_target(proc_ + "/ns/" + name),
                  link_target(std::string("/proc/self/ns/") + name))
            << name;
    }
}

TEST_F(ConfinementTest, ItsRootIsEmpty) {
    EXPECT_TRUE(list(proc_ + "/root").empty());
}

TEST_F(ConfinementTest, TwoMachinesHaveDifferentUsers) {
    const Running other;
    const auto uid = [](pid_t pid) {
        return std::stoul(fields("/proc/" + std::to_string(pid) + "/status").at("Uid"));
    };
    EXPECT_NE(uid(machine_.monitor_pid()), uid(other.monitor_pid()));
}

// The list is the one in docs/security.md.
TEST_F(ConfinementTest, ItsDescriptorsAreThoseOfTheList) {
    const std::array<const char*, 16> allowed{"/dev/null",
                                              "anon_inode:kvm-",
                                              "anon_inode:[eventpoll]",
                                              "anon_inode:[eventfd]",
                                              "anon_inode:[io_uring]",
                                              "socket:",
                                              "pipe:",
                                              "/layers/",
                                              "/indexes/",
                                              "/tops/",
                                              "/containers/",
                                              "anon_inode:[timerfd]",
                                              "/vm/",
                                              "/templates/",
                                              "/snapshots/",
                                              "/pagemap"};
    for (const std::string& fd : list(proc_ + "/fd")) {
        const std::string target = link_target(proc_ + "/fd/" + fd);
        bool known = false;
        for (const char* pattern : allowed)
            known = known || target.find(pattern) != std::string::npos;
        EXPECT_TRUE(known) << "descriptor " << fd << " is " << target;
        EXPECT_EQ(target.find("/dev/kvm"), std::string::npos);
    }
}

struct Mapping {
    uint64_t start = 0;
    uint64_t end = 0;
    uint64_t rss_kib = 0;
    uint64_t private_kib = 0;
};

std::vector<Mapping> mappings(const std::string& proc) {
    std::vector<Mapping> all;
    const std::string smaps = read_file(proc + "/smaps", 16 << 20).value();
    for (size_t at = 0; at < smaps.size();) {
        const size_t end = std::min(smaps.find('\n', at), smaps.size());
        const std::string line = smaps.substr(at, end - at);
        Mapping mapping;
        uint64_t kib = 0;
        if (std::sscanf(line.c_str(), "%lx-%lx ", &mapping.start, &mapping.end) == 2)
            all.push_back(mapping);
        if (std::sscanf(line.c_str(), "Rss: %lu", &kib) == 1) all.back().rss_kib = kib;
        if (std::sscanf(line.c_str(), "Private_Clean: %lu", &kib) == 1 ||
            std::sscanf(line.c_str(), "Private_Dirty: %lu", &kib) == 1)
            all.back().private_kib += kib;
        at = end + 1;
    }
    return all;
}

TEST_F(ConfinementTest, MemoryThatIsntTheGuestsIsUnderThreeMebibytesAndTheGuestsUnderThirtyTwo) {
    // The guest's RAM is one range of addresses, of an anonymous mapping and pieces of a template.
    constexpr uint64_t kGuestBytes = 120 << 20;
    uint64_t guest_rss = 0;
    uint64_t own_private = 0;
    const std::vector<Mapping> all = mappings(proc_);
    for (size_t i = 0; i < all.size();) {
        uint64_t rss = 0;
        uint64_t private_kib = 0;
        const uint64_t start = all[i].start;
        uint64_t end = start;
        for (; i < all.size() && all[i].start == end; end = all[i++].end) {
            rss += all[i].rss_kib;
            private_kib += all[i].private_kib;
        }
        const bool is_guest = end - start >= kGuestBytes;
        guest_rss += is_guest ? rss : 0;
        own_private += is_guest ? 0 : private_kib;
    }
    std::printf("monitor's private memory %lu KiB, guest's resident memory %lu KiB\n", own_private,
                guest_rss);
    EXPECT_LT(own_private, 3U << 10);
    EXPECT_LT(guest_rss, 32U << 10);
    EXPECT_GT(guest_rss, 4U << 10);  // or the wrong mapping was measured
}

}  // namespace
}  // namespace drupe::testing
