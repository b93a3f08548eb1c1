// What containers cost on the host's disk: many of them on one image of 1 GiB, each booted once.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/boot/running.h"

namespace drupe::testing {
namespace {

using std::chrono::seconds;

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr size_t kAtATime = 4;
/// 1,000 of them and the image are 1.2 times the image then.
constexpr uint64_t kMaxContainerBytes = 200 << 10;

/// With a root of its own, which nothing else is counted in.
class ManyContainersTest : public ::testing::Test {
  protected:
    void SetUp() override {
        const char* base = std::getenv("DRUPE_ROOT");
        root_ = std::string(base != nullptr ? base : "/tmp") + "-many";
        std::filesystem::create_directories(root_);
        ASSERT_EQ(::setenv("DRUPE_ROOT", root_.c_str(), 1), 0);
        // A template, made beside the first ones, would take room, too.
        ASSERT_EQ(::setenv("DRUPE_BOOT", "cold", 1), 0);
    }
    void TearDown() override {
        (void)drupe({"system", "prune", "-af"}, "", seconds(600));
        end_daemon();
        std::filesystem::remove_all(root_);
    }

    /// An image as they usually are (a skeleton of folders, busybox) with a file of random bytes,
    /// which a machine has written: an import would keep its archive as well, for a push.
    static void make_image(uint64_t mib) {
        const std::string tree = std::string(std::getenv("DRUPE_ROOT")) + "/tree";
        const Outcome made = run(
            {"sh", "-c",
             "mkdir -p " + tree + " && cd " + tree +
                 " && mkdir bin dev etc proc root run sys tmp var && cp $(command -v busybox) "
                 "bin/ && ln -s busybox bin/sh && touch etc/hostname etc/hosts etc/resolv.conf"});
        ASSERT_EQ(made.exit_code, 0) << made.err;
        succeed({"import", tree, "small:1"});
        std::filesystem::remove_all(tree);
        const std::string write = "/bin/busybox dd if=/dev/urandom of=/random bs=1M count=";
        succeed(
            {"run", "--name", "maker", "small:1", "/bin/sh", "-c", write + std::to_string(mib)});
        succeed({"commit", "maker", "big:1"});
        succeed({"rm", "maker"});
        succeed({"system", "maintain"});
    }
    static void succeed(const std::vector<std::string>& arguments) {
        const Outcome outcome = drupe(arguments, "", seconds(3000));
        ASSERT_EQ(outcome.exit_code, 0) << arguments.front() << ": " << outcome.err;
    }
    static Outcome run(const std::vector<std::string>& argv) {
        return Process(argv, Process::Io::kPipes).finish(seconds(600));
    }
    static uint64_t du(const std::string& path) {
        return std::strtoull(run({"du", "-s", "-B1", path}).out.c_str(), nullptr, 10);
    }
    static nlohmann::json df() {
        const Outcome outcome = drupe({"system", "df", "--json"});
        EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
        return nlohmann::json::parse(outcome.out);
    }

    std::string root_;
};

TEST_F(ManyContainersTest, AContainerThatHasBootedCostsAFewBlocks) {
    const auto count = static_cast<size_t>(repetitions(20, 1000));
    const auto image_mib = static_cast<uint64_t>(repetitions(64, 1024));
    ASSERT_NO_FATAL_FAILURE(make_image(image_mib));
    ::sync();
    const uint64_t before = du(root_);
    for (size_t started = 0; started < count;) {
        std::vector<std::unique_ptr<Process>> batch;
        for (; batch.size() < kAtATime && started < count; ++started) {
            batch.push_back(std::make_unique<Process>(
                drupe_argv({"run", "big:1", "/bin/sh", "-c", "echo here"}), Process::Io::kPipes));
        }
        for (const auto& process : batch) {
            const Outcome outcome = process->finish(seconds(300));
            ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
            ASSERT_EQ(outcome.out, "here\n");
        }
    }
    ::sync();
    const uint64_t after = du(root_);
    const nlohmann::json usage = df();
    const auto total = usage["total_bytes"].get<uint64_t>();
    EXPECT_GE(total, after - after / 100);
    EXPECT_LE(total, after + after / 100);
    ASSERT_EQ(usage["containers"].size(), count);
    uint64_t disks = 0;
    uint64_t logs = 0;
    uint64_t others = 0;
    for (const nlohmann::json& container : usage["containers"]) {
        disks += container["disk_bytes"].get<uint64_t>();
        logs += container["log_bytes"].get<uint64_t>();
        others += container["other_bytes"].get<uint64_t>();
    }
    std::printf(
        "image %llu MiB, %zu containers: %llu KiB each by du "
        "(disk %llu, log %llu, other %llu), %llu MiB in all\n",
        static_cast<unsigned long long>(image_mib), count,
        static_cast<unsigned long long>((after - before) / count / 1024),
        static_cast<unsigned long long>(disks / count / 1024),
        static_cast<unsigned long long>(logs / count / 1024),
        static_cast<unsigned long long>(others / count / 1024),
        static_cast<unsigned long long>(after / kMiB));
    std::printf("%s\n", drupe({"system", "df", "-v"}).out.c_str());
    EXPECT_LE((after - before) / count, kMaxContainerBytes);
    if (count == 1000) {
        EXPECT_LE(after, image_mib * kMiB * 12 / 10);
    }
}

}  // namespace
}  // namespace drupe::testing
