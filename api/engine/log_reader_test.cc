#include "api/engine/log_reader.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "api/engine/time_text.h"

namespace drupe::engine {
namespace {

class LogReaderTest : public ::testing::Test {
  protected:
    void SetUp() override {
        char path[] = "/tmp/drupe-log-XXXXXX";
        ASSERT_NE(::mkdtemp(path), nullptr);
        folder_ = path;
        path_ = folder_ + "/log";
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    /// Appends entry number n, written at second n, to a file of the log.
    void put(int n, const char* suffix = "") {
        std::ofstream(path_ + suffix, std::ios::app)
            << fmt::format(
                   R"({{"log":"{}\n","stream":"stdout","time":"2026-01-01T00:{:02}:{:02}Z"}})", n,
                   n / 60, n % 60)
            << "\n";
    }
    void raw(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }
    static std::string rest(LogReader& reader) {
        std::string all;
        for (;;) {
            const auto entry = reader.next();
            EXPECT_TRUE(entry);
            if (!entry || !entry.value()) return all;
            all += entry.value()->text;
        }
    }

    std::string folder_;
    std::string path_;
};

TEST_F(LogReaderTest, ALogThatIsNotThereYetIsEmptyAndThenGrows) {
    LogReader reader(path_);
    EXPECT_EQ(rest(reader), "");
    put(1);
    EXPECT_EQ(rest(reader), "1\n");
    put(2);
    EXPECT_EQ(rest(reader), "2\n");
}

TEST_F(LogReaderTest, ALineThatIsNotCompleteYetIsReadWhenItIs) {
    raw(R"({"log":"a\n","stream":"std)");
    LogReader reader(path_);
    EXPECT_EQ(rest(reader), "");
    raw("err\",\"time\":\"2026-01-01T00:00:00.5Z\"}\n");
    const auto entry = reader.next().value();
    ASSERT_TRUE(entry);
    EXPECT_TRUE(entry->is_stderr);
    EXPECT_EQ(entry->at_ns % 1'000'000'000, 500'000'000u);
}

TEST_F(LogReaderTest, WhatIsNoLogLineIsSkipped) {
    put(1);
    raw("garbage\n[]\n{\"log\":3}\n{\"log\":\"x\",\"time\":\"noon\"}\n\n");
    raw(std::string(1 << 20, 'x') + "\n");
    put(2);
    LogReader reader(path_);
    EXPECT_EQ(rest(reader), "1\n2\n");
}

TEST_F(LogReaderTest, TheOlderOfTwoFilesComesFirst) {
    put(3);
    put(4);
    put(1, ".1");
    put(2, ".1");
    LogReader reader(path_);
    EXPECT_EQ(rest(reader), "1\n2\n3\n4\n");
}

TEST_F(LogReaderTest, ARotationIsFollowed) {
    put(1);
    LogReader reader(path_);
    EXPECT_EQ(rest(reader), "1\n");
    put(2, ".1");
    EXPECT_EQ(rest(reader), "2\n");
    put(3, ".1");
    std::filesystem::resize_file(path_, 0);
    put(4);
    EXPECT_EQ(rest(reader), "3\n4\n");
}

TEST_F(LogReaderTest, ManyFilesAreReadFromTheOldestOnAndFollowedRound) {
    put(5);
    put(6);
    put(1, ".1");
    put(2, ".2");
    put(3, ".3");
    put(4, ".3");
    LogReader reader(path_);
    EXPECT_EQ(rest(reader), "1\n2\n3\n4\n5\n6\n");
    std::filesystem::resize_file(path_ + ".1", 0);
    EXPECT_EQ(rest(reader), "");
    put(7, ".1");
    put(8, ".1");
    EXPECT_EQ(rest(reader), "7\n8\n");
    std::filesystem::resize_file(path_ + ".2", 0);
    put(9, ".2");
    EXPECT_EQ(rest(reader), "9\n");
}

TEST_F(LogReaderTest, AWriterThatLapsItsReaderCostsLinesAndRepeatsNone) {
    put(1);
    put(2);
    LogReader reader(path_);
    EXPECT_EQ(reader.next().value()->text, "1\n");
    for (const char* suffix : {".1", ".2"}) {
        put(suffix[1] - '0' + 2, suffix);
    }
    std::filesystem::resize_file(path_, 0);
    for (int n = 5; n < 30; ++n) put(n);  // longer than it was
    std::string expected = "2\n3\n4\n";   // 2 was read ahead
    for (int n = 5; n < 30; ++n) expected += std::to_string(n) + "\n";
    EXPECT_EQ(rest(reader), expected);
}

TEST_F(LogReaderTest, TheOnlyFileMayBeWrittenAnew) {
    put(1);
    LogReader reader(path_);
    EXPECT_EQ(rest(reader), "1\n");
    std::filesystem::resize_file(path_, 0);
    EXPECT_EQ(rest(reader), "");
    for (int n = 2; n < 5; ++n) put(n);
    EXPECT_EQ(rest(reader), "2\n3\n4\n");
}

TEST_F(LogReaderTest, TheTailMayBeginInAnyOfManyFiles) {
    put(3);
    put(4, ".1");
    put(1, ".2");
    put(2, ".3");
    const std::string all = "1\n2\n3\n4\n";
    for (uint64_t lines = 0; lines < 6; ++lines) {
        LogReader reader(path_);
        ASSERT_TRUE(reader.tail(lines));
        EXPECT_EQ(rest(reader), lines >= 4 ? all : all.substr(2 * (4 - lines))) << lines;
    }
}

TEST_F(LogReaderTest, TheTailMayBeginInEitherFile) {
    put(4);
    put(5);
    put(1, ".1");
    put(2, ".1");
    put(3, ".1");
    const auto tail = [&](uint64_t lines) {
        LogReader reader(path_);
        EXPECT_TRUE(reader.tail(lines));
        return rest(reader);
    };
    EXPECT_EQ(tail(0), "");
    EXPECT_EQ(tail(1), "5\n");
    EXPECT_EQ(tail(2), "4\n5\n");
    EXPECT_EQ(tail(3), "3\n4\n5\n");
    EXPECT_EQ(tail(5), "1\n2\n3\n4\n5\n");
    EXPECT_EQ(tail(99), "1\n2\n3\n4\n5\n");
}

TEST_F(LogReaderTest, ATailOfALongLogIsFoundFromItsEnd) {
    for (int i = 0; i < 3000; ++i) put(i);
    LogReader reader(path_);
    ASSERT_TRUE(reader.tail(2500));
    EXPECT_EQ(reader.next().value()->text, "500\n");
}

TEST(LogLine, WhatLooksLikeTheEndOfALineMayBeItsText) {
    constexpr const char* kTime = "2026-01-01T00:00:01.5Z";
    const std::string text = R"(","stream":"stderr","time":"2000-01-01T00:00:00Z"})";
    for (const std::string& log :
         {text, text + "\n", text + "\x01", text + "\xc3\xa9", std::string()}) {
        for (const char* stream : {"stdout", "stderr"}) {
            const nlohmann::ordered_json line{{"log", log}, {"stream", stream}, {"time", kTime}};
            const auto entry = parse_log_line(line.dump());
            ASSERT_TRUE(entry) << line;
            EXPECT_EQ(entry->text, log);
            EXPECT_EQ(entry->is_stderr, stream == std::string("stderr"));
            EXPECT_EQ(entry->at_ns, *parse_time_text(kTime));
        }
    }
}

TEST(LogLine, WhatIsNoLineIsNone) {
    const std::string whole = R"({"log":"a","stream":"stdout","time":"2026-01-01T00:00:01Z"})";
    ASSERT_TRUE(parse_log_line(whole));
    for (size_t size = 0; size < whole.size(); ++size) {
        EXPECT_FALSE(parse_log_line(whole.substr(0, size))) << size;
    }
    for (const char* bad : {R"({"log":"a"b","stream":"stdout","time":"2026-01-01T00:00:01Z"})",
                            R"({"log":"a","stream":"stdout","time":"soon"})",
                            R"({"log":"a\","stream":"stdout","time":"2026-01-01T00:00:01Z"})"}) {
        EXPECT_FALSE(parse_log_line(bad)) << bad;
    }
}

TEST(TimeText, TimesSurviveTheRoundTripAndZonesAreUnderstood) {
    for (const uint64_t at : {1ull, 1'700'000'000'000'000'000ull, 1'700'000'000'123'456'789ull}) {
        EXPECT_EQ(parse_time_text(time_text(at)), at);
    }
    EXPECT_EQ(parse_time_text("2023-11-14T23:13:20+01:00"), 1'700'000'000'000'000'000ull);
    EXPECT_EQ(parse_time_text("2023-11-14"), 1'699'920'000'000'000'000ull);
    for (const char* bad : {"", "2023", "2023-11-14T", "2023-11-14T23:13:20", "noon",
                            "1969-12-31T00:00:00Z", "-023-11-14T23:13:20Z"}) {
        EXPECT_FALSE(parse_time_text(bad)) << bad;
    }
}

TEST(TimeText, MomentsAreDatesSecondsOrAgo) {
    constexpr uint64_t kSecond = 1'000'000'000;
    EXPECT_EQ(parse_moment("90m", 7200 * kSecond), 1800 * kSecond);
    EXPECT_EQ(parse_moment("1h30m", 7200 * kSecond), 1800 * kSecond);
    EXPECT_EQ(parse_moment("1.5h", 7200 * kSecond), 1800 * kSecond);
    EXPECT_EQ(parse_duration("1m500ms"), 60 * kSecond + kSecond / 2);
    for (const char* bad : {"", "5", "1e9s", "9999999h9999999h"}) EXPECT_FALSE(parse_duration(bad));
    EXPECT_EQ(parse_moment("9h", 7200 * kSecond), 0u);
    EXPECT_EQ(parse_moment("12.5", 0), 12 * kSecond + kSecond / 2);
    for (const char* bad : {"", "m", "5x", "1.5y", "99999999999999999999", "yesterday"}) {
        EXPECT_FALSE(parse_moment(bad, 0)) << bad;
    }
}

}  // namespace
}  // namespace drupe::engine
