#include "api/client/frames.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace drupe::client {
namespace {

using namespace std::string_literals;
using ::testing::HasSubstr;

struct Taken {
    std::string out;
    std::string err;
    FrameDecoder decoder{[this](FrameDecoder::Stream stream, std::string_view bytes) -> Status {
        (stream == FrameDecoder::Stream::kStdout ? out : err) += bytes;
        return ok();
    }};
};

TEST(FrameDecoder, TellsTheStreamsApartHoweverTheBytesAreCut) {
    const std::string frames =
        "\1\0\0\0\0\0\0\5hello\2\0\0\0\0\0\0\2no\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\1!"s;
    for (size_t step = 1; step <= frames.size(); ++step) {
        Taken taken;
        for (size_t at = 0; at < frames.size(); at += step) {
            ASSERT_TRUE(taken.decoder.push(std::string_view(frames).substr(at, step)));
        }
        EXPECT_EQ(taken.out, "hello!") << step;
        EXPECT_EQ(taken.err, "no") << step;
        EXPECT_TRUE(taken.decoder.finish());
    }
}

TEST(FrameDecoder, ALongFrameIsPassedOnBeforeItIsWhole) {
    Taken taken;
    ASSERT_TRUE(taken.decoder.push("\1\0\0\0\xff\xff\xff\xff"s + "abc"));
    EXPECT_EQ(taken.out, "abc");
    EXPECT_EQ(taken.decoder.finish().error().code, ErrorCode::kCorrupt);
}

TEST(FrameDecoder, WhatIsNoFrameIsRefused) {
    for (const std::string& bytes : {"\0\0\0\0\0\0\0\1a"s, "\4\0\0\0\0\0\0\1a"s,
                                     "\1\1\0\0\0\0\0\1a"s, "plain text"s, "\x81\0\0\0\0\0\0\1a"s}) {
        Taken taken;
        const auto status = taken.decoder.push(bytes);
        ASSERT_FALSE(status);
        EXPECT_EQ(status.error().code, ErrorCode::kCorrupt);
        EXPECT_EQ(taken.out, "");
    }
    Taken half;
    ASSERT_TRUE(half.decoder.push("\1\0\0"s));
    EXPECT_FALSE(half.decoder.finish());
}

TEST(FrameDecoder, TheDaemonsOwnErrorAndTheSinksErrorEndIt) {
    Taken taken;
    const auto status = taken.decoder.push("\3\0\0\0\0\0\0\4oops"s);
    ASSERT_FALSE(status);
    EXPECT_THAT(status.error().message, HasSubstr("oops"));
    FrameDecoder full([](FrameDecoder::Stream, std::string_view) -> Status {
        return Error{ErrorCode::kIo, "full"};
    });
    EXPECT_EQ(full.push("\1\0\0\0\0\0\0\1a"s).error().message, "full");
}

}  // namespace
}  // namespace drupe::client
