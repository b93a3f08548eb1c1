#include "base/json_string.h"

#include <gtest/gtest.h>

#include "base/json_reader.h"

namespace drupe {
namespace {

std::string written(std::string_view text) {
    std::string out = "before";
    append_json_string(out, text);
    return out;
}

TEST(JsonStringTest, IsWrittenAsTheLibraryWritesIt) {
    std::string every;
    for (int c = 0; c < 256; ++c) {
        const std::string one(1, static_cast<char>(c));
        EXPECT_EQ(written(one), "before" + dump_json(one)) << c;
        EXPECT_EQ(written("a" + one + "\nb"), "before" + dump_json("a" + one + "\nb")) << c;
        every += one;
    }
    for (const std::string& text : {std::string(), every,
                                    std::string("p\xc3\xa9"
                                                "ch\n")}) {
        EXPECT_EQ(written(text), "before" + dump_json(text));
    }
}

TEST(JsonStringTest, DepthIsCountedOutsideOfStrings) {
    EXPECT_FALSE(is_nested_deeper("", 0));
    EXPECT_FALSE(is_nested_deeper(R"({"a":[1,{"b":[]}],"c":{"d":[]}})", 4));
    EXPECT_TRUE(is_nested_deeper(R"({"a":[1,{"b":[]}]})", 3));
    EXPECT_FALSE(is_nested_deeper(R"(["[[[[", "\"[[[", "\\", "{\\\"{{"])", 1));
    EXPECT_TRUE(is_nested_deeper(R"(["\\", [[]]])", 2));
    EXPECT_TRUE(is_nested_deeper(std::string(100'000, '['), 64));
    EXPECT_FALSE(is_nested_deeper("]]][", 1));
    EXPECT_FALSE(is_nested_deeper("[\"", 1));
    EXPECT_FALSE(is_nested_deeper("[\"\\", 1));
}

TEST(JsonStringTest, WhatIsTooDeepOrNoJsonIsRefused) {
    EXPECT_TRUE(parse_json(std::string(16, '[') + std::string(16, ']')));
    EXPECT_FALSE(parse_json(std::string(17, '[') + "1" + std::string(17, ']')));
    EXPECT_TRUE(parse_json(R"({"a": [1]})", 2));
    EXPECT_FALSE(parse_json(R"({"a": [[1]]})", 2));
    EXPECT_FALSE(parse_json(R"({"a": )"));
    EXPECT_FALSE(parse_json("[1] 2"));
}

TEST(JsonStringTest, WhatIsPlainIsReadBackAsTheLibraryReadsIt) {
    for (int c = 0; c < 0x80; ++c) {
        const std::string text = "a" + std::string(1, static_cast<char>(c)) + "b";
        const std::string json = written(text).substr(6);
        const auto read = plain_json_string(std::string_view(json).substr(1, json.size() - 2));
        if (json.find("\\u") != std::string::npos) {
            EXPECT_FALSE(read) << json;
        } else {
            EXPECT_EQ(read, text);
        }
    }
}

TEST(JsonStringTest, WhatIsNotPlainIsLeftToTheLibrary) {
    for (const char* inside : {"a\"b", "a\\", "\\", "\\x", "\\u0041", "\\/", "\xc3\xa9", "\n"}) {
        EXPECT_FALSE(plain_json_string(inside)) << inside;
    }
    EXPECT_EQ(plain_json_string(""), "");
}

}  // namespace
}  // namespace drupe
