// Requests against servers that behave badly: each ends in an answer or one clear error, in time.

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "imagefs/registry/repository.h"
#include "imagefs/registry/testing/fake_registry.h"

namespace drupe::imagefs::registry {
namespace {

using testing::FakeServer;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Reply;
using testing::SeenRequest;

class HttpTest : public ::testing::Test {
  protected:
    HttpTest() : session_(testing::fast_session("/nonexistent")) {}

    static Url url(const std::string& host, const std::string& path = "/") {
        return Url::parse("http://" + host + path).value();
    }
    static Request request_for(const Url& from, Headers headers = {}) {
        Request request;
        request.url = from;
        request.headers = std::move(headers);
        return request;
    }
    Result<Response> get(const Url& from, Headers headers = {}) {
        HttpClient http(session_.config, session_.limits);
        return http.send(request_for(from, std::move(headers)));
    }
    /// The error of a GET and of reading what it gives; "" if all went well.
    std::string failure(const Url& from) {
        HttpClient http(session_.config, session_.limits);
        auto response = http.send(request_for(from));
        if (!response) return response.error().message;
        const auto text = read_document(response.value());
        return text ? "" : text.error().message;
    }
    Repository repository(const std::string& host, Credentials credentials = {}) {
        return {session_, url(host, ""), "app", std::move(credentials), Repository::Access::kPull};
    }

    Session session_;
};

TEST_F(HttpTest, AConnectionIsUsedAgainAndALostOneReplaced) {
    size_t count = 0;
    FakeServer server([&](const SeenRequest&) {
        // The third request finds that the server has hung up meanwhile.
        return ++count == 2 ? Reply{.body = "x", .claimed_length = "1"} : Reply{.body = "x"};
    });
    HttpClient http(session_.config, session_.limits);
    for (int i = 0; i < 3; ++i) {
        auto response = http.send(request_for(url(server.host())));
        ASSERT_TRUE(response) << response.error().message;
        EXPECT_EQ(read_document(response.value()).value(), "x");
    }
    EXPECT_EQ(server.connections(), 2U);
}

TEST_F(HttpTest, RedirectLoopsEnd) {
    FakeServer server([](const SeenRequest& request) {
        return Reply{.status = 307}.with("Location", request.target + "x");
    });
    EXPECT_THAT(failure(url(server.host())), HasSubstr("redirects more than 10 times"));
    EXPECT_EQ(server.seen().size(), 11U);
}

TEST_F(HttpTest, AuthorizationDoesNotFollowToAnotherHostNorComeBack) {
    FakeServer other([](const SeenRequest& request) {
        const std::string back(request.target.substr(1));
        return Reply{.status = 302}.with("Location", "http://" + back + "/end");
    });
    FakeServer first([&](const SeenRequest& request) {
        if (request.target == "/end") return Reply{.body = "end"};
        if (request.target == "/same") {
            return Reply{.status = 302}.with("Location",
                                             "http://" + other.host() + "/" + first.host());
        }
        return Reply{.status = 302}.with("Location", "/same");
    });
    Headers headers;
    headers.add("Authorization", "Bearer secret");
    auto response = get(url(first.host()), headers);
    ASSERT_TRUE(response) << response.error().message;
    EXPECT_EQ(read_document(response.value()).value(), "end");
    ASSERT_EQ(first.seen().size(), 3U);
    EXPECT_EQ(first.seen()[1].headers.get("Authorization"), "Bearer secret");
    EXPECT_THAT(other.seen().at(0).headers.get("Authorization"), IsEmpty());
    EXPECT_THAT(first.seen()[2].headers.get("Authorization"), IsEmpty());
}

TEST_F(HttpTest, RedirectsToWhatIsNotEncryptedOrNoUrlAreRefused) {
    for (const std::string& bad :
         std::initializer_list<std::string>{"http://registry.example/x", "file:///etc/passwd", "",
                                            "http://a b/", "gopher://127.0.0.1:6379/x"}) {
        FakeServer server(
            [bad](const SeenRequest&) { return Reply{.status = 302}.with("Location", bad); });
        EXPECT_THAT(failure(url(server.host())),
                    ::testing::AnyOf(HasSubstr("redirects wrongly"), HasSubstr("isn't encrypted")))
            << bad;
    }
}

TEST_F(HttpTest, WhatIsNotHttpIsRefused) {
    for (const std::string& bad :
         {std::string("SSH-2.0-OpenSSH\r\n\r\n"), std::string(), std::string("HTTP/1.1 200"),
          "HTTP/1.1 200 OK\r\nX: " + std::string(100'000, 'x') + "\r\n\r\n",
          std::string("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
          std::string("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"),
          std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
          std::string("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort")}) {
        FakeServer server([bad](const SeenRequest&) { return Reply{.raw = bad}; });
        EXPECT_THAT(failure(url(server.host())), HasSubstr(server.host())) << bad.substr(0, 60);
    }
}

TEST_F(HttpTest, InterimAnswersAreSkippedButNotForEver) {
    FakeServer few([](const SeenRequest&) {
        return Reply{.raw =
                         "HTTP/1.1 100 Continue\r\n\r\n"
                         "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
    });
    EXPECT_EQ(failure(url(few.host())), "");
    std::string many;
    for (int i = 0; i < 100; ++i) many += "HTTP/1.1 102 Processing\r\n\r\n";
    FakeServer server([many](const SeenRequest&) { return Reply{.raw = many}; });
    EXPECT_THAT(failure(url(server.host())), HasSubstr("doesn't come to an answer"));
}

TEST_F(HttpTest, EndlessBodiesEnd) {
    FakeServer server([](const SeenRequest&) {
        return Reply{.body = std::string(60'000, 'x'), .endless = true};
    });
    EXPECT_THAT(failure(url(server.host())), HasSubstr("more than 4194304 bytes"));
}

TEST_F(HttpTest, SilenceAndDripsTimeOut) {
    session_.limits.head_ms = 200;
    session_.limits.window_ms = 300;
    const auto begin = std::chrono::steady_clock::now();
    FakeServer drip(
        [](const SeenRequest&) { return Reply{.body = std::string(1000, 'x'), .drip_ms = 10}; });
    EXPECT_THAT(failure(url(drip.host())), HasSubstr("too slow"));
    // The listener takes connections that nobody ever answers.
    const Fd silent(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    ASSERT_EQ(::bind(silent.get(), generic, size), 0);
    ASSERT_EQ(::listen(silent.get(), 1), 0);
    ASSERT_EQ(::getsockname(silent.get(), generic, &size), 0);
    const std::string host = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    EXPECT_THAT(failure(url(host)), HasSubstr("it takes too long"));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

TEST_F(HttpTest, AStopIsHeardWhileWaiting) {
    std::atomic<bool> stop = false;
    session_.limits.stop = &stop;
    session_.limits.idle_ms = 60'000;
    session_.limits.window_ms = 60'000;
    FakeServer server([&](const SeenRequest&) {
        stop = true;  // The head and a byte come, then nothing for long.
        return Reply{.body = std::string(3, 'x'), .drip_ms = 10'000};
    });
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_FALSE(failure(url(server.host())).empty());
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(9));
}

TEST_F(HttpTest, BasicIsAnsweredOnceAndRemembered) {
    FakeServer server([](const SeenRequest& request) {
        if (request.headers.get("Authorization") == "Basic dXNlcjpwYXNz") return Reply{};
        return Reply{.status = 401}.with("WWW-Authenticate", "Basic realm=\"r\"");
    });
    Repository repository = this->repository(server.host(), {"user", "pass", ""});
    HttpClient http(session_.config, session_.limits);
    for (int i = 0; i < 2; ++i) {
        const auto response = repository.send(http, request_for(repository.url("x")));
        ASSERT_TRUE(response) << response.error().message;
        EXPECT_EQ(response.value().status, 200U);
    }
    EXPECT_EQ(server.seen().size(), 3U);
    Repository wrong = this->repository(server.host(), {"user", "wrong", ""});
    const auto refused = wrong.send(http, request_for(wrong.url("x")));
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("refuses these credentials"));
    Repository nobody = this->repository(server.host());
    const auto unknown = nobody.send(http, request_for(nobody.url("x")));
    ASSERT_FALSE(unknown);
    EXPECT_THAT(unknown.error().message, HasSubstr("drupe login " + server.host()));
}

class TokenTest : public HttpTest {
  protected:
    /// A registry that wants a token from `realm`, or from itself.
    Reply registry(const SeenRequest& request, const std::string& host) {
        if (request.target.starts_with("/token")) return token_;
        if (request.headers.get("Authorization") == "Bearer good") return {};
        const std::string realm = realm_.empty() ? "http://" + host + "/token" : realm_;
        return Reply{.status = 401}.with("WWW-Authenticate",
                                         "Bearer realm=\"" + realm + "\",service=\"s\"");
    }
    std::string outcome() {
        FakeServer server(
            [&](const SeenRequest& request) { return registry(request, server.host()); });
        Repository repository = this->repository(server.host(), {"user", "pass", ""});
        HttpClient http(session_.config, session_.limits);
        const auto response = repository.send(http, request_for(repository.url("x")));
        seen_ = server.seen();
        return response ? std::to_string(response.value().status) : response.error().message;
    }
    Reply token_{.body = R"({"token":"good"})"};
    std::string realm_;
    std::vector<SeenRequest> seen_;
};

TEST_F(TokenTest, ATokenIsFetchedForTheScope) {
    EXPECT_EQ(outcome(), "200");
    ASSERT_EQ(seen_.size(), 3U);
    EXPECT_EQ(seen_[1].target, "/token?service=s&scope=repository%3Aapp%3Apull&account=user");
    EXPECT_EQ(seen_[1].headers.get("Authorization"), "Basic dXNlcjpwYXNz");
    token_.body = R"({"access_token":"good"})";
    EXPECT_EQ(outcome(), "200");
}

TEST_F(TokenTest, TokenServersThatLieAreSeenThrough) {
    for (const char* lie : {"", "[]", "{}", R"({"token":5})", R"({"token":""})", "not json",
                            R"({"token":"a\r\nX-Injected: 1"})", R"({"token":"a b"})"}) {
        token_ = Reply{.body = lie};
        EXPECT_THAT(outcome(), HasSubstr("log in to 127.0.0.1")) << lie;
    }
    token_ = Reply{.body = R"({"token":"bad"})"};
    EXPECT_THAT(outcome(), HasSubstr("refuses these credentials"));
    token_ = Reply{.body = R"({"token":")" + std::string(100'000, 'a') + R"("})"};
    EXPECT_THAT(outcome(), HasSubstr("no proper token"));
    token_ = Reply{.status = 401, .body = R"({"errors":[{"message":"wrong\npassword"}]})"};
    EXPECT_THAT(outcome(), HasSubstr("answers 401: wrong password"));
    token_ = Reply{.status = 302}.with("Location", "/token");
    EXPECT_THAT(outcome(), HasSubstr("redirects more than"));
}

TEST_F(TokenTest, CredentialsGoToNoTokenServerInTheClear) {
    realm_ = "http://auth.example/token";
    EXPECT_THAT(outcome(), HasSubstr("auth.example isn't encrypted"));
    realm_ = "file:///etc/passwd";
    EXPECT_THAT(outcome(), HasSubstr("realm"));
}

TEST_F(HttpTest, BusyServersAreAskedAgain) {
    size_t count = 0;
    FakeServer server([&](const SeenRequest&) {
        ++count;
        if (count == 1) return Reply{.status = 503};
        if (count == 2) return Reply{.status = 429}.with("Retry-After", "1");
        if (count == 3) return Reply{.raw = ""};
        return Reply{};
    });
    Repository repository = this->repository(server.host());
    HttpClient http(session_.config, session_.limits);
    session_.retry.max_retry_after_ms = 100;
    const auto begin = std::chrono::steady_clock::now();
    const auto response = repository.send_again(http, request_for(repository.url("x")));
    ASSERT_TRUE(response) << response.error().message;
    EXPECT_EQ(response.value().status, 200U);
    EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(100));
}

TEST_F(HttpTest, ServersThatStayBusyAreGivenUp) {
    FakeServer server(
        [](const SeenRequest&) { return Reply{.status = 503}.with("Retry-After", "99999999999"); });
    Repository repository = this->repository(server.host());
    HttpClient http(session_.config, session_.limits);
    const auto response = repository.send_again(http, request_for(repository.url("x")));
    ASSERT_TRUE(response);
    EXPECT_EQ(response.value().status, 503U);
    EXPECT_EQ(server.seen().size(), 4U);
}

TEST_F(HttpTest, ThisMachineMayBeWithoutTlsAndOthersMayNot) {
    FakeServer server([](const SeenRequest&) { return Reply{}; });
    const auto found = find_server(session_, server.host());
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(found.value().to_string(), "http://" + server.host() + "/");
    EXPECT_EQ(find_server(session_, "registry.example").value().to_string(),
              "https://registry.example/");
    EXPECT_EQ(find_server(session_, "docker.io").value().to_string(),
              "https://registry-1.docker.io/");
}

}  // namespace
}  // namespace drupe::imagefs::registry
