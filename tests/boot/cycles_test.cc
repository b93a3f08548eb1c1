// A machine under load that is saved, ended and restored over and over, by a real kernel.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <sstream>
#include <thread>
#include <utility>

#include "tests/boot/running.h"

namespace drupe::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using Strings = std::vector<std::string>;

constexpr seconds kPatience{60};
/// From the machine's restore until its clock is set, and from a line's writing to its time stamp.
constexpr double kMaxClockLag_s = 2;

/// What tests/boot/load_guest.cc prints.
struct Line {
    double taken_at_s = 0;  ///< By the host's clock.
    uint64_t number = 0;
    double realtime_s = 0;         ///< By the guest's.
    std::vector<uint64_t> counts;  ///< Rise while all parts of the load make progress.
};
constexpr size_t kCounts = 8;

double host_time(const std::string& stamp) {
    std::tm time{};
    const char* const rest = ::strptime(stamp.c_str(), "%Y-%m-%dT%H:%M:%S", &time);
    if (rest == nullptr) return 0;
    return static_cast<double>(::timegm(&time)) + std::atof(rest);
}

double host_now() {
    timespec time{};
    ::clock_gettime(CLOCK_REALTIME, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

/// Of a container's log since a time.
std::vector<Line> report_of(const std::string& id, double since_s) {
    const Outcome logs = drupe({"logs", "-t", id});
    EXPECT_EQ(logs.exit_code, 0) << logs.err;
    std::vector<Line> lines;
    bool first = true;
    for (const std::string& text : lines_of(logs.out)) {
        Line line;
        std::string stamp;
        std::istringstream in(text);
        in >> stamp >> line.number >> line.realtime_s;
        line.taken_at_s = host_time(stamp);
        if (line.taken_at_s < since_s) continue;
        line.realtime_s /= 1000;
        line.counts.resize(kCounts);
        for (uint64_t& value : line.counts) in >> value;
        // Its beginning may be in the log of the machine that was saved.
        const bool cut = std::exchange(first, false) && text.find("WRONG") == std::string::npos;
        EXPECT_TRUE(in || cut) << text;
        if (in && !cut) lines.push_back(std::move(line));
    }
    return lines;
}

bool all_rose(const Line& from, const Line& to) {
    return std::ranges::equal(from.counts, to.counts, std::ranges::less());
}

std::string text_of(const std::vector<Line>& lines) {
    std::ostringstream out;
    for (const Line& line : lines) {
        out << line.number;
        for (const uint64_t value : line.counts) out << ' ' << value;
        out << '\n';
    }
    return out.str();
}

/// Waits until every part of the load has made progress, and checks what it says of it. Returns the
/// number of the last line, 0 if something stands still.
uint64_t await_progress(const std::string& id, double since_s, uint64_t after) {
    const auto limit = steady_clock::now() + kPatience;
    for (;;) {
        const std::vector<Line> lines = report_of(id, since_s);
        const bool over = steady_clock::now() > limit;
        const bool rose = lines.size() > 1 && all_rose(lines.front(), lines.back());
        if (!rose && !over && !::testing::Test::HasFailure()) {
            std::this_thread::sleep_for(milliseconds(50));
            continue;
        }
        EXPECT_TRUE(rose) << "it stands still:\n" << text_of(lines);
        if (!rose) return 0;
        EXPECT_GT(lines.front().number, after) << "it began anew";
        for (size_t i = 0; i < lines.size(); ++i)
            EXPECT_EQ(lines[i].number, lines.front().number + i) << "a line is missing";
        // The first ones may have been written before it was saved.
        EXPECT_NEAR(lines.back().realtime_s, lines.back().taken_at_s, kMaxClockLag_s);
        return lines.back().number;
    }
}

/// The more of it is left out, the weaker the host's processor is: an emulated one does all of
/// this, and the host's own part, for two.
int pace() {
    return std::getenv("EMULATED_HOST") != nullptr ? 20 : 1;
}

Strings load() {
    return {"/load-guest", std::to_string(pace()), "/fio", "--directory=/", "--time_based",
            "--runtime=86400", "--clocksource=clock_gettime", "--verify=crc32c",
            "--verify_backlog=32", "--verify_fatal=1", "--rw=randwrite", "--size=8m", "--eta=never",
            "--rate_iops=" + std::to_string(200 / pace()),
            // With I/O in flight whenever the machine is stopped; and through the journal.
            "--name=direct", "--ioengine=libaio", "--direct=1", "--iodepth=8", "--name=journal",
            "--ioengine=psync", "--fdatasync=8", "--bsrange=1k-16k"};
}

class CyclesTest : public ::testing::Test {
  protected:
    static constexpr const char* kImage = "fio-load";

    static void SetUpTestSuite() {
        Process maker({DRUPE_TEST_SOURCE_DIR "/tests/images/make-fio-image",
                       DRUPE_TEST_BINARY_DIR "/load-guest"},
                      Process::Io::kPipes);
        const Outcome made = maker.finish(seconds(300));
        ASSERT_EQ(made.exit_code, 0) << made.err;
        const Outcome imported = drupe({"import", "-", kImage}, made.out, seconds(600));
        ASSERT_EQ(imported.exit_code, 0) << imported.err;
    }

    void SetUp() override {
        Strings words{"run", "-d", "--cpus", "2", "--memory", "64m", "--privileged", kImage};
        std::ranges::copy(load(), std::back_inserter(words));
        const Outcome started = drupe(words);
        ASSERT_EQ(started.exit_code, 0) << started.err;
        id_ = trim(started.out);
        last_ = await_progress(id_, 0, 0);
        ASSERT_NE(last_, 0U);
    }
    void TearDown() override {
        if (!id_.empty()) {
            EXPECT_EQ(drupe({"rm", "-f", id_}).exit_code, 0);
        }
    }

    /// Its copy goes on in its place.
    void fork() {
        const Outcome forked = drupe({"fork", id_});
        ASSERT_EQ(forked.exit_code, 0) << forked.err;
        const Outcome removed = drupe({"rm", "-f", id_});
        ASSERT_EQ(removed.exit_code, 0) << removed.err;
        id_ = trim(forked.out);
        restored_at_s_ = 0;
    }
    /// It goes on from a snapshot of itself.
    void roll_back() {
        for (const Strings& words : {Strings{"snapshot", "create", id_, "now"},
                                     {"rollback", id_, "now"},
                                     {"snapshot", "rm", id_, "now"}}) {
            const Outcome done = drupe(words);
            ASSERT_EQ(done.exit_code, 0) << words[0] << ": " << done.err;
            if (words[0] == "rollback") restored_at_s_ = host_now();
        }
    }

    std::string id_;
    double restored_at_s_ = 0;
    uint64_t last_ = 0;  ///< The number of the last line that was seen.
};

TEST_F(CyclesTest, ALoadOfDisksTimersAndProcessesGoesOnThroughAll) {
    const int cycles = repetitions(15, 1000);
    const auto begun = steady_clock::now();
    for (int cycle = 1; cycle <= cycles; ++cycle) {
        SCOPED_TRACE("cycle " + std::to_string(cycle));
        cycle % 2 == 0 ? roll_back() : fork();
        if (!HasFailure()) last_ = await_progress(id_, restored_at_s_, last_);
        ASSERT_FALSE(HasFailure());
        if (cycle % 50 == 0) {
            std::printf(
                "%d cycles in %lld s, line %llu\n", cycle,
                static_cast<long long>(
                    std::chrono::duration_cast<seconds>(steady_clock::now() - begun).count()),
                static_cast<unsigned long long>(last_));
            std::fflush(stdout);
        }
    }
}

}  // namespace
}  // namespace drupe::testing
