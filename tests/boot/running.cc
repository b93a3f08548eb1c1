#include "tests/boot/running.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <utility>

namespace drupe::testing {
namespace {

constexpr std::chrono::seconds kPatience{60};

std::string pid_of(const std::string& container) {
    return trim(drupe({"inspect", "--format", "{{.State.Pid}}", container}).out);
}

/// What a container's monitor has in memory that no file has: its guest's RAM, above all.
uint64_t anonymous_bytes(const std::string& container) {
    const std::string pid = pid_of(container);
    std::ifstream status("/proc/" + pid + "/status");
    for (std::string word; status >> word;) {
        uint64_t kib = 0;
        if (word == "RssAnon:" && status >> kib) return kib << 10;
    }
    throw std::runtime_error("no RssAnon of process " + pid);
}

}  // namespace

std::string trim(std::string text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
    return text;
}

OwnDaemon::OwnDaemon(const std::string& suffix, std::map<std::string, std::string> variables)
    : variables_(std::move(variables)) {
    if (const char* const root = std::getenv("DRUPE_ROOT")) root_before_ = root;
    const std::string base = root_before_.empty() ? "/var/lib/drupe" : root_before_;
    ::setenv("DRUPE_ROOT", (base + suffix).c_str(), 1);
    for (const auto& [name, value] : variables_) ::setenv(name.c_str(), value.c_str(), 1);
}

OwnDaemon::~OwnDaemon() {
    end_daemon();
    for (const auto& [name, value] : variables_) ::unsetenv(name.c_str());
    root_before_.empty() ? ::unsetenv("DRUPE_ROOT")
                         : ::setenv("DRUPE_ROOT", root_before_.c_str(), 1);
}

Running::Running(const std::vector<std::string>& options) {
    std::vector<std::string> arguments{"run", "-d"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    for (const char* word : {"busybox", "sleep", "100000"}) arguments.emplace_back(word);
    const Outcome outcome = drupe(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    id_ = trim(outcome.out);
}

Running::~Running() {
    (void)drupe({"rm", "-f", id_});
}

pid_t Running::monitor_pid() const {
    return std::stoi(pid_of(id_));
}

Parent::Parent(const std::string& script, const std::vector<std::string>& options) {
    std::vector<std::string> words{"run", "-d"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {"busybox", "sh", "-c", script});
    const Outcome started = drupe(words);
    EXPECT_EQ(started.exit_code, 0) << started.err;
    all_.push_back(trim(started.out));
}

Parent::~Parent() {
    std::vector<std::string> words{"rm", "-f"};
    words.insert(words.end(), all_.begin(), all_.end());
    (void)drupe(words);
}

std::vector<std::string> Parent::fork(int count) {
    const Outcome forked = drupe({"fork", "-n", std::to_string(count), id()});
    EXPECT_EQ(forked.exit_code, 0) << forked.err;
    std::vector<std::string> clones = lines_of(forked.out);
    if (clones.size() != static_cast<size_t>(count)) throw std::runtime_error("no copies");
    all_.insert(all_.end(), clones.begin(), clones.end());
    return clones;
}

void Parent::remove(const std::string& id) {
    EXPECT_EQ(drupe({"rm", "-f", id}).exit_code, 0);
    std::erase(all_, id);
}

std::string in(const std::string& container, const std::string& script) {
    const Outcome outcome = drupe({"exec", container, "sh", "-c", script});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.out;
}

int restores_heard(const std::string& container) {
    // "13:    1    0   IR-IO-APIC ... vmgenid": a column a processor.
    const std::string line = in(container, "grep vmgenid /proc/interrupts");
    std::istringstream columns(line.substr(line.find(':') + 1));
    int sum = 0;
    for (int count = 0; columns >> count;) sum += count;
    return sum;
}

int private_kib(const std::string& container) {
    const std::string pid = pid_of(container);
    std::ifstream smaps("/proc/" + pid + "/smaps_rollup");
    for (std::string line; std::getline(smaps, line);)
        if (line.starts_with("Private_Dirty:")) return std::stoi(line.substr(14));
    ADD_FAILURE() << "no process " << pid;
    return 0;
}

bool is_folded(const std::string& container) {
    const std::string pid = pid_of(container);
    std::ifstream maps("/proc/" + pid + "/maps");
    const std::string all(std::istreambuf_iterator<char>(maps), {});
    EXPECT_FALSE(all.empty()) << "no process " << pid;
    return all.find("/snapshots/") == std::string::npos &&
           all.find("/templates/") == std::string::npos;
}

bool await_folded(const std::string& container) {
    for (int i = 0; i < 300; ++i) {
        if (is_folded(container)) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(500));
    }
    return false;
}

std::filesystem::path saved_by(const std::string& container) {
    const char* const named = std::getenv("DRUPE_ROOT");
    const std::string root = named != nullptr ? named : "/var/lib/drupe";
    for (const auto& entry : std::filesystem::directory_iterator(root + "/snapshots")) {
        std::ifstream in(entry.path() / "machine.json");
        const std::string machine(std::istreambuf_iterator<char>(in), {});
        if (machine.find("\"container\":\"" + container + "\"") != std::string::npos)
            return entry.path();
    }
    ADD_FAILURE() << "nothing was saved";
    return {};
}

bool await_in(const std::string& container, const std::vector<std::string>& command) {
    std::vector<std::string> words{"exec", container};
    words.insert(words.end(), command.begin(), command.end());
    const auto limit = std::chrono::steady_clock::now() + kPatience;
    while (drupe(words).exit_code != 0)
        if (std::chrono::steady_clock::now() > limit) return false;
    return true;
}

void expect_freed_memory_returns(const std::string& container) {
    constexpr uint64_t kMiB = 1 << 20;
    in(container, "dd if=/dev/zero of=/dev/shm/file bs=1M count=200 2>/dev/null");
    const uint64_t full = anonymous_bytes(container);
    EXPECT_GE(full, 200 * kMiB);
    in(container, "rm /dev/shm/file");
    const auto limit = std::chrono::steady_clock::now() + kPatience;
    uint64_t left = full;
    while (left > full - 150 * kMiB && std::chrono::steady_clock::now() < limit) {
        std::this_thread::sleep_for(std::chrono::milliseconds(500));
        left = anonymous_bytes(container);
    }
    EXPECT_LE(left, full - 150 * kMiB) << "of " << full;
}

std::vector<std::string> await_log(const std::string& container, size_t count) {
    const auto limit = std::chrono::steady_clock::now() + kPatience;
    for (;;) {
        std::vector<std::string> lines = lines_of(drupe({"logs", container}).out);
        if (lines.size() >= count || std::chrono::steady_clock::now() > limit) return lines;
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
}

std::vector<std::string> lines_of(const std::string& text) {
    std::istringstream in(text);
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

}  // namespace drupe::testing
