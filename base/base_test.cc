#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <span>
#include <string>
#include <string_view>
#include <thread>

#include "base/codec.h"
#include "base/crc32c.h"
#include "base/event_loop.h"
#include "base/fd.h"
#include "base/log.h"

namespace drupe {
namespace {

using std::chrono::milliseconds;

TEST(CodecTest, RoundTrips) {
    Encoder out;
    out.put<uint8_t>(7);
    out.put<uint64_t>(1ULL << 40);
    out.put_bytes("drupe");
    put_list(out, {"a", "", std::string("b\0c", 3)});
    Decoder in(out.bytes());
    EXPECT_EQ(in.get<uint8_t>(), 7);
    EXPECT_EQ(in.get<uint64_t>(), 1ULL << 40);
    EXPECT_EQ(in.get_bytes(), "drupe");
    EXPECT_EQ(in.get_list(3, 10), (std::vector<std::string>{"a", "", std::string("b\0c", 3)}));
    EXPECT_TRUE(in.at_end());
}

TEST(CodecTest, EveryTruncationFailsAndStaysFailed) {
    Encoder out;
    out.put<uint32_t>(5);
    out.put_bytes("drupe");
    put_list(out, {"one", "two"});
    for (size_t size = 0; size < out.bytes().size(); ++size) {
        Decoder in(std::string_view(out.bytes()).substr(0, size));
        (void)in.get<uint32_t>();
        (void)in.get_bytes();
        (void)in.get_list(2, 3);
        EXPECT_FALSE(in.at_end()) << size;
        if (!in.ok()) {
            EXPECT_EQ(in.get<uint32_t>(), 0U);
        }
    }
}

TEST(CodecTest, ACountLargerThanTheInputIsRefusedBeforeItAllocates) {
    Encoder out;
    out.put<uint32_t>(0xffffffff);
    Decoder in(out.bytes());
    EXPECT_TRUE(in.get_list(0xffffffff, 10).empty());
    EXPECT_FALSE(in.ok());
}

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

TEST(Crc32cTest, MatchesTheCheckValue) {
    EXPECT_EQ(crc32c(bytes_of("123456789")), 0xE3069283U);
    EXPECT_EQ(crc32c({}), 0U);
}

TEST(Crc32cTest, PiecesGiveTheSameAsTheWhole) {
    std::string text;
    for (int i = 0; i < 1000; ++i) text += static_cast<char>(i * 7);
    const uint32_t whole = crc32c(bytes_of(text));
    uint32_t by_bytes = 0;
    for (size_t i = 0; i < text.size(); ++i)
        by_bytes = crc32c(bytes_of(text).subspan(i, 1), by_bytes);
    EXPECT_EQ(whole, by_bytes);
    for (size_t cut = 0; cut <= text.size(); ++cut) {
        const uint32_t first = crc32c(bytes_of(text).first(cut));
        EXPECT_EQ(crc32c(bytes_of(text).subspan(cut), first), whole);
    }
}

TEST(EventLoopTest, WatchesBothDirectionsOfOneDescriptor) {
    const auto loop = make_event_loop();
    FdPair pair = std::move(make_socketpair(1 /* SOCK_STREAM */)).value();
    std::string seen;
    EventLoop::Watch writable, readable;
    writable = loop->on_writable(pair.first.get(), [&] {
        writable.reset();
        ASSERT_EQ(::write(pair.second.get(), "x", 1), 1);
    });
    readable = loop->on_readable(pair.first.get(), [&] {
        char c = 0;
        ASSERT_EQ(::read(pair.first.get(), &c, 1), 1);
        seen += c;
        loop->stop();
    });
    loop->run();
    EXPECT_EQ(seen, "x");
}

TEST(EventLoopTest, AWatchDestroyedInACallbackIsNotCalledAgain) {
    const auto loop = make_event_loop();
    FdPair pair = std::move(make_pipe()).value();
    ASSERT_EQ(::write(pair.second.get(), "xy", 2), 2);
    int calls = 0;
    EventLoop::Watch watch = loop->on_readable(pair.first.get(), [&] {
        ++calls;
        watch.reset();
    });
    const auto timer = loop->after(milliseconds(5), [&] { loop->stop(); });
    loop->run();
    EXPECT_EQ(calls, 1);
}

TEST(EventLoopTest, TimersRunInOrderAndCancelledOnesDont) {
    const auto loop = make_event_loop();
    std::string order;
    const auto second = loop->after(milliseconds(2), [&] { order += "2"; });
    const auto first = loop->after(milliseconds(1), [&] { order += "1"; });
    auto cancelled = loop->after(milliseconds(1), [&] { order += "x"; });
    cancelled.reset();
    const auto last = loop->after(milliseconds(3), [&] { loop->stop(); });
    loop->run();
    EXPECT_EQ(order, "12");
}

TEST(EventLoopTest, PostCrossesThreads) {
    const auto loop = make_event_loop();
    std::thread other([&] { loop->post([&] { loop->stop(); }); });
    loop->run();
    other.join();
}

TEST(FdTest, ReadExactSaysThatTheFileEndsEarly) {
    const Fd file = std::move(open_file("/tmp", O_TMPFILE | O_RDWR, 0600)).value();
    ASSERT_TRUE(write_exact(file.get(), std::as_bytes(std::span("abc", 3)), 0));
    std::byte buffer[4];
    const auto read = read_exact(file.get(), buffer, 0);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, ErrorCode::kCorrupt);
}

TEST(LogLimitTest, AFloodIsLoggedALogarithmicNumberOfTimes) {
    LogLimit limit(4);
    int passed = 0;
    for (int i = 0; i < 1'000'000; ++i) passed += limit.pass() ? 1 : 0;
    EXPECT_LT(passed, 30);
    EXPECT_EQ(limit.count(), 1'000'000U);
}

}  // namespace
}  // namespace drupe
