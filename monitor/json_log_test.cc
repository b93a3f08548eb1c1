#include "monitor/json_log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace drupe {
namespace {

using protocol::Stream;

struct Files {
    explicit Files(size_t count, uint64_t max_bytes = 0) {
        for (size_t i = 0; i < count; ++i) {
            Fd file = std::move(open_file("/tmp", O_TMPFILE | O_RDWR, 0600)).value();
            kept.push_back(std::move(file.duplicate()).value());
            config.fds.push_back(file.release());
        }
        config.max_file_bytes = max_bytes;
    }
    [[nodiscard]] std::string text(size_t i) const {
        std::string text(1 << 20, '\0');
        const ssize_t n = ::pread(kept[i].get(), text.data(), text.size(), 0);
        text.resize(static_cast<size_t>(std::max<ssize_t>(n, 0)));
        return text;
    }
    std::vector<Fd> kept;
    LogConfig config;
};

constexpr uint64_t kTime = 1'700'000'000'000'000'007;
uint64_t fixed_time() {
    return kTime;
}

TEST(JsonLogTest, ALineIsAnObjectWithItsStreamAndTime) {
    const Files files(1);
    JsonLog log(files.config, fixed_time);
    log.write(Stream::kStdout, "he said \"hi\"\n");
    log.write(Stream::kStderr, "oops\n");
    EXPECT_EQ(files.text(0),
              "{\"log\":\"he said \\\"hi\\\"\\n\",\"stream\":\"stdout\",\"time\":"
              "\"2023-11-14T22:13:20.000000007Z\"}\n"
              "{\"log\":\"oops\\n\",\"stream\":\"stderr\",\"time\":"
              "\"2023-11-14T22:13:20.000000007Z\"}\n");
}

TEST(JsonLogTest, PiecesOfALineAreJoinedAndItsEndIsNotLost) {
    const Files files(1);
    JsonLog log(files.config, fixed_time);
    log.write(Stream::kStdout, "one ");
    log.write(Stream::kStdout, "line\nand a");
    EXPECT_NE(files.text(0).find("one line\\n"), std::string::npos);
    EXPECT_EQ(files.text(0).find("and a"), std::string::npos);
    log.finish(Stream::kStdout);
    EXPECT_NE(files.text(0).find("\"and a\""), std::string::npos);
}

TEST(JsonLogTest, AnEndlessLineIsCutAndMemoryStaysBounded) {
    const Files files(1);
    JsonLog log(files.config, fixed_time);
    log.write(Stream::kStdout, std::string(3 * JsonLog::kMaxLineBytes + 5, 'x'));
    const std::string text = files.text(0);
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
}

TEST(JsonLogTest, BytesThatAreNotTextDontBreakTheFormat) {
    const Files files(1);
    JsonLog log(files.config, fixed_time);
    log.write(Stream::kStdout, std::string("\xff\0\x1b\n", 4));
    EXPECT_NE(files.text(0).find("\\u0000\\u001b\\n"), std::string::npos) << files.text(0);
}

TEST(JsonLogTest, RotationKeepsTheCapAndTheNewestLines) {
    const Files files(2, 1000);
    JsonLog log(files.config, fixed_time);
    for (int i = 0; i < 100; ++i) log.write(Stream::kStdout, "line " + std::to_string(i) + "\n");
    EXPECT_LE(files.text(0).size(), 1000U);
    EXPECT_LE(files.text(1).size(), 1000U);
    EXPECT_NE((files.text(0) + files.text(1)).find("line 99\\n"), std::string::npos);
}

}  // namespace
}  // namespace drupe
