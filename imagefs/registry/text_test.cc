// What servers and files say, read: URLs, header fields, configurations.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "imagefs/registry/base64.h"
#include "imagefs/registry/config.h"
#include "imagefs/registry/headers.h"
#include "imagefs/registry/url.h"

namespace drupe::imagefs::registry {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

std::string parsed(std::string_view text) {
    const auto url = Url::parse(text);
    return url ? url.value().to_string() : url.error().message;
}
std::string resolved(std::string_view base, std::string_view location) {
    const auto url = Url::parse(base).value().resolve(location);
    return url ? url.value().to_string() : url.error().message;
}

TEST(Url, PartsAreNormalised) {
    EXPECT_EQ(parsed("https://Host.Example"), "https://host.example/");
    EXPECT_EQ(parsed("https://host:443/a?b=c#d"), "https://host/a?b=c");
    EXPECT_EQ(parsed("http://[::1]:5000?x"), "http://[::1]:5000/?x");
    EXPECT_EQ(parsed("http://host:80"), "http://host/");
}

TEST(Url, WhatIsNoneIsRefused) {
    for (const char* bad :
         {"", "host", "ftp://host/", "https://", "https://user:password@host/", "https://ho st/",
          "https://host:0/", "https://host:65536/", "https://host:1x/", "https://[::1/",
          "https://[host]/", "https://host/\r\nX: y", "https://h\xc3\xb6st/"}) {
        EXPECT_FALSE(Url::parse(bad)) << bad;
    }
    EXPECT_FALSE(Url::parse("https://host/" + std::string(20'000, 'a')));
}

TEST(Url, LocationsAreResolved) {
    const char* base = "https://host:5000/v2/app/blobs/uploads/?a=/b/";
    EXPECT_EQ(resolved(base, "/x?y"), "https://host:5000/x?y");
    EXPECT_EQ(resolved(base, "http://other/x"), "http://other/x");
    EXPECT_EQ(resolved(base, "//other/x"), "https://other/x");
    EXPECT_EQ(resolved(base, "17"), "https://host:5000/v2/app/blobs/uploads/17");
    EXPECT_THAT(resolved(base, ""), HasSubstr("can't be redirected to"));
    EXPECT_THAT(resolved(base, "file:///etc/passwd"), HasSubstr("can't be redirected to"));
    EXPECT_THAT(resolved(base, "/a\nb"), HasSubstr("characters"));
}

TEST(Url, LoopbackIsKnownByItsName) {
    for (const char* host : {"localhost", "127.0.0.1", "127.9.9.9", "::1"}) {
        EXPECT_TRUE(is_loopback(host)) << host;
    }
    for (const char* host : {"localhost.example", "128.0.0.1", "127.0.0.1.example", "10.0.0.1"}) {
        EXPECT_FALSE(is_loopback(host)) << host;
    }
}

TEST(Challenges, AreReadAsServersWriteThem) {
    const auto list = parse_challenges(
        R"(Bearer realm="https://auth.example/token", service = "r \"x\"",scope="a:b:pull,push" , )"
        R"(Basic realm=R)");
    ASSERT_EQ(list.size(), 2U);
    EXPECT_EQ(list[0].scheme, "bearer");
    EXPECT_THAT(list[0].params,
                ElementsAre(Pair("realm", "https://auth.example/token"),
                            Pair("scope", "a:b:pull,push"), Pair("service", "r \"x\"")));
    EXPECT_EQ(list[1].scheme, "basic");
    EXPECT_THAT(list[1].params, ElementsAre(Pair("realm", "R")));
}

TEST(Challenges, NonsenseIsBounded) {
    EXPECT_TRUE(parse_challenges("").empty());
    EXPECT_TRUE(parse_challenges("=,;\"").empty());
    EXPECT_TRUE(parse_challenges("realm=\"no scheme\"").empty());
    EXPECT_TRUE(parse_challenges("Bearer realm=\"open").at(0).params.empty());
    std::string many;
    for (int i = 0; i < 1000; ++i) many += "S" + std::to_string(i) + " ";
    EXPECT_EQ(parse_challenges(many).size(), 16U);
    std::string params = "Bearer ";
    for (int i = 0; i < 1000; ++i) params += "p" + std::to_string(i) + "=1,";
    EXPECT_EQ(parse_challenges(params).at(0).params.size(), 32U);
}

TEST(ContentRange, IsExact) {
    const auto range = parse_content_range("bytes 5-9/10");
    ASSERT_TRUE(range);
    EXPECT_EQ(range->first, 5U);
    EXPECT_EQ(range->last, 9U);
    EXPECT_EQ(range->total, 10U);
    EXPECT_FALSE(parse_content_range("bytes 0-9/*")->total);
    for (const char* bad : {"", "bytes 5-4/10", "bytes 5-10/10", "bytes -1-4/10", "items 0-1/2",
                            "bytes 0-1", "bytes 0/1-2", "bytes 0-99999999999999999999/*"}) {
        EXPECT_FALSE(parse_content_range(bad)) << bad;
    }
}

TEST(Base64, PaddingIsNotContent) {
    for (const char* text : {"", "a", "ab", "abc", "user:pass"}) {
        EXPECT_EQ(base64_decode(base64_encode(text)), text);
    }
    EXPECT_EQ(base64_encode("user:pass"), "dXNlcjpwYXNz");
    EXPECT_FALSE(base64_decode("abc"));
    EXPECT_FALSE(base64_decode("!!!!"));
}

TEST(Config, MirrorsAndInsecureHosts) {
    const auto config = Config::parse(
        R"({"mirrors": {"docker.io": ["https://m.example/hub/", "http://localhost:5001"]},
            "insecure": ["plain.example:5000"]})");
    ASSERT_TRUE(config) << config.error().message;
    const auto& mirrors = config.value().mirrors.find("docker.io")->second;
    EXPECT_EQ(mirrors.at(0).to_string(), "https://m.example/hub");
    EXPECT_TRUE(config.value().is_insecure(Url::parse("https://plain.example:5000").value()));
    EXPECT_FALSE(config.value().is_insecure(Url::parse("https://plain.example").value()));
    EXPECT_TRUE(config.value().tls_for(Url::parse("https://other.example").value()).verify);
}

TEST(Config, AMirrorWithoutTlsHasToBeMeant) {
    const auto config = Config::parse(R"({"mirrors": {"docker.io": ["http://mirror.example"]}})");
    ASSERT_FALSE(config);
    EXPECT_THAT(config.error().message, HasSubstr("without TLS"));
    EXPECT_TRUE(Config::parse(R"({"mirrors": {"docker.io": ["http://mirror.example"]},
                                  "insecure": ["mirror.example"]})"));
    EXPECT_FALSE(Config::parse("[1"));
    EXPECT_FALSE(Config::parse(R"({"mirrors": {"docker.io": "x"}})"));
}

}  // namespace
}  // namespace drupe::imagefs::registry
