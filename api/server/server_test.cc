#include "api/server/server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "api/server/router.h"

namespace drupe::http {
namespace {

using std::chrono::milliseconds;

/// A server with the handler, and clients of it.
class ServerTest : public ::testing::Test {
  protected:
    void serve(Handler handler, Limits limits = {}) {
        Server::Options options;
        options.limits = limits;
        options.headers = {{"Server", "test"}};
        server_ = Server::make(std::move(options), std::move(handler)).value();
        thread_ = std::thread([this] { server_->run(); });
    }
    void TearDown() override {
        server_->stop();
        thread_.join();
    }
    /// A client's connection.
    Fd connect() {
        FdPair pair = make_socketpair(SOCK_STREAM).value();
        server_->serve(std::move(pair.second));
        return std::move(pair.first);
    }
    static void say(const Fd& client, std::string_view text) {
        ASSERT_TRUE(write_all(client.get(), std::as_bytes(std::span(text.data(), text.size()))));
    }
    /// What comes until the text ends so, the connection ends, or too much time has passed.
    static std::string hear(const Fd& client, std::string_view end = "") {
        const timeval limit{10, 0};
        ::setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        std::string text;
        char byte = 0;
        while (::recv(client.get(), &byte, 1, 0) == 1) {
            text += byte;
            if (!end.empty() && text.ends_with(end)) break;
        }
        return text;
    }

    std::unique_ptr<Server> server_;
    std::thread thread_;
};

void echo(Exchange& exchange) {
    const auto body = exchange.read_whole_body(1 << 20);
    if (!body) {
        EXPECT_TRUE(reply_error(exchange, body.error()));
        return;
    }
    EXPECT_TRUE(exchange.reply(200, "text/plain", exchange.request().method + ":" + body.value()));
}

TEST_F(ServerTest, AnswersSeveralRequestsOfOneConnection) {
    serve(echo);
    const Fd client = connect();
    say(client, "POST /a HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\nhi");
    const std::string first = hear(client, "POST:hi");
    EXPECT_TRUE(first.starts_with("HTTP/1.1 200 OK\r\n")) << first;
    EXPECT_NE(first.find("Server: test\r\n"), std::string::npos);
    EXPECT_NE(first.find("Content-Length: 7\r\n"), std::string::npos);
    say(client, "GET /b HTTP/1.1\r\nHost: d\r\n\r\n");
    EXPECT_TRUE(hear(client, "GET:").ends_with("GET:"));
}

TEST_F(ServerTest, RequestsThatComeTogetherAreAnsweredInTurn) {
    serve(echo);
    const Fd client = connect();
    say(client,
        "POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\n\r\noneGET / HTTP/1.1\r\nHost: "
        "d\r\n\r\n");
    hear(client, "POST:one");
    EXPECT_TRUE(hear(client, "GET:").ends_with("GET:"));
}

TEST_F(ServerTest, ReadsChunkedBodiesHoweverTheyAreCut) {
    serve(echo);
    const std::string request =
        "POST / HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n5\r\ndefgh\r\n0\r\n\r\n";
    for (const size_t piece : {request.size(), size_t{1}, size_t{7}}) {
        const Fd client = connect();
        for (size_t at = 0; at < request.size(); at += piece)
            say(client, request.substr(at, piece));
        EXPECT_TRUE(hear(client, "POST:abcdefgh").ends_with("POST:abcdefgh")) << piece;
    }
}

TEST_F(ServerTest, ContinuesWhoWaitsForIt) {
    serve(echo);
    const Fd client = connect();
    say(client, "POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    EXPECT_EQ(hear(client, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    say(client, "ok");
    EXPECT_TRUE(hear(client, "POST:ok").ends_with("POST:ok"));
}

TEST_F(ServerTest, StreamsInChunksAndEndsThem) {
    serve([](Exchange& exchange) {
        EXPECT_TRUE(exchange.begin(200, "application/json"));
        EXPECT_TRUE(exchange.write("one"));
        EXPECT_TRUE(exchange.write(std::string(300, 'x')));
    });
    const Fd client = connect();
    say(client, "GET / HTTP/1.1\r\nHost: d\r\n\r\n");
    const std::string text = hear(client, "0\r\n\r\n");
    EXPECT_NE(text.find("Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n12c\r\nxxx"),
              std::string::npos)
        << text;
}

TEST_F(ServerTest, WhatIsAbandonedHasNoEnd) {
    serve([](Exchange& exchange) {
        EXPECT_TRUE(exchange.begin(200, "application/x-tar"));
        EXPECT_TRUE(exchange.write("half"));
        exchange.abandon();
    });
    const Fd client = connect();
    say(client, "GET / HTTP/1.1\r\nHost: d\r\n\r\n");
    EXPECT_TRUE(hear(client).ends_with("4\r\nhalf\r\n"));
}

TEST_F(ServerTest, AnOlderClientGetsItsAnswerWithoutChunks) {
    serve([](Exchange& exchange) {
        EXPECT_TRUE(exchange.begin(200, "text/plain"));
        EXPECT_TRUE(exchange.write("all"));
    });
    const Fd client = connect();
    say(client, "GET / HTTP/1.0\r\n\r\n");
    EXPECT_TRUE(hear(client).ends_with("\r\n\r\nall"));
}

TEST_F(ServerTest, HeadHasNoBody) {
    serve([](Exchange& exchange) { EXPECT_TRUE(exchange.reply(200, "text/plain", "OK")); });
    const Fd client = connect();
    say(client, "HEAD / HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
    const std::string text = hear(client);
    EXPECT_NE(text.find("Content-Length: 2\r\n"), std::string::npos);
    EXPECT_TRUE(text.ends_with("\r\n\r\n"));
}

TEST_F(ServerTest, HijackedConnectionsCarryBytesBothWays) {
    serve([](Exchange& exchange) {
        auto taken = exchange.hijack("application/vnd.docker.raw-stream");
        ASSERT_TRUE(taken);
        EXPECT_EQ(taken.value().early, "early");
        // Half-closed by the client: what we say still arrives.
        char byte = 0;
        EXPECT_TRUE(set_nonblocking(taken.value().fd, false));
        EXPECT_EQ(::recv(taken.value().fd, &byte, 1, 0), 0);
        EXPECT_EQ(::send(taken.value().fd, "bye", 3, MSG_NOSIGNAL), 3);
    });
    const Fd client = connect();
    say(client,
        "POST /x HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: "
        "2\r\n\r\n{}early");
    ::shutdown(client.get(), SHUT_WR);
    const std::string text = hear(client);
    EXPECT_TRUE(text.starts_with("HTTP/1.1 101 UPGRADED\r\n")) << text;
    EXPECT_NE(text.find("Upgrade: tcp\r\n"), std::string::npos);
    EXPECT_TRUE(text.ends_with("\r\n\r\nbye"));
}

TEST_F(ServerTest, AClientThatStillSendsSeesTheEnd) {
    serve([](Exchange& exchange) {
        const auto taken = exchange.hijack("application/vnd.docker.raw-stream");
        ASSERT_TRUE(taken);
        EXPECT_EQ(::send(taken.value().fd, "bye", 3, MSG_NOSIGNAL), 3);
    });
    const Fd client = connect();
    say(client, "POST /x HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
    std::thread sender([&] {
        const std::string much(1 << 20, 'x');
        say(client, much);
        ::shutdown(client.get(), SHUT_WR);
    });
    EXPECT_TRUE(hear(client).ends_with("\r\n\r\nbye"));
    sender.join();
}

TEST_F(ServerTest, WhatIsNoRequestIsRefused) {
    serve(echo);
    for (const std::string_view bad :
         {"nonsense\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
          "GET /%zz HTTP/1.1\r\nHost: d\r\n\r\n", "GET /%00 HTTP/1.1\r\nHost: d\r\n\r\n"}) {
        const Fd client = connect();
        say(client, bad);
        const std::string text = hear(client);
        EXPECT_TRUE(text.starts_with("HTTP/1.1 400 ")) << text;
        EXPECT_NE(text.find("{\"message\":"), std::string::npos) << text;
    }
}

TEST_F(ServerTest, AHeadThatIsTooLongIsRefused) {
    Limits limits;
    limits.head_bytes = 1024;
    serve(echo, limits);
    const Fd client = connect();
    say(client, "GET / HTTP/1.1\r\nX: " + std::string(4000, 'x') + "\r\n\r\n");
    EXPECT_TRUE(hear(client).starts_with("HTTP/1.1 431 "));
}

TEST_F(ServerTest, ABodyThatEndsEarlyOrIsBrokenIsAnError) {
    serve(echo);
    for (const std::string_view bad :
         {"POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 10\r\n\r\nabc",
          "POST / HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"}) {
        const Fd client = connect();
        say(client, bad);
        ::shutdown(client.get(), SHUT_WR);
        EXPECT_TRUE(hear(client).starts_with("HTTP/1.1 400 "));
    }
}

TEST_F(ServerTest, SlowHeadsAndBodiesAreCutOff) {
    Limits limits;
    limits.head = std::chrono::seconds(1);
    limits.body = std::chrono::seconds(1);
    serve(echo, limits);
    const Fd head = connect();
    say(head, "GET / HT");
    const Fd body = connect();
    say(body, "POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 10\r\n\r\nabc");
    EXPECT_EQ(hear(head), "");
    EXPECT_TRUE(hear(body).starts_with("HTTP/1.1 503 "));
}

TEST_F(ServerTest, ManyIdleConnectionsCostNoThread) {
    serve(echo);
    std::vector<Fd> idle;
    for (int i = 0; i < 400; ++i) {
        idle.push_back(connect());
        say(idle.back(), "GET / HT");
    }
    const Fd client = connect();
    const auto begin = std::chrono::steady_clock::now();
    say(client, "GET / HTTP/1.1\r\nHost: d\r\n\r\n");
    EXPECT_TRUE(hear(client, "GET:").ends_with("GET:"));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST_F(ServerTest, AConnectionThatNeverSaidAnythingIsClosedAsASlowHeadIs) {
    Limits limits;
    limits.head = std::chrono::seconds(1);
    serve(echo, limits);
    const Fd silent = connect();
    const Fd used = connect();
    say(used, "GET / HTTP/1.1\r\nHost: d\r\n\r\n");
    hear(used, "GET:");
    EXPECT_EQ(hear(silent), "");
    // Between two requests it may be silent for longer.
    say(used, "GET / HTTP/1.1\r\nHost: d\r\n\r\n");
    EXPECT_TRUE(hear(used, "GET:").ends_with("GET:"));
}

TEST_F(ServerTest, MoreConnectionsThanAllowedAreToldSoAndClosed) {
    Limits limits;
    limits.connections = 2;
    serve(echo, limits);
    const Fd first = connect();
    const Fd second = connect();
    const Fd third = connect();
    const std::string text = hear(third);
    EXPECT_TRUE(text.starts_with("HTTP/1.1 503 ")) << text;
    EXPECT_NE(text.find("too many connections"), std::string::npos) << text;
    say(first, "GET / HTTP/1.1\r\nHost: d\r\n\r\n");
    EXPECT_TRUE(hear(first, "GET:").ends_with("GET:"));
}

TEST_F(ServerTest, AHandlerThatThrowsIsAnInternalError) {
    serve([](Exchange&) { throw std::runtime_error("no"); });
    const Fd client = connect();
    say(client, "GET / HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
    EXPECT_TRUE(hear(client).starts_with("HTTP/1.1 500 "));
}

Request parsed(std::string_view target) {
    Request request;
    EXPECT_TRUE(parse_target(target, request)) << target;
    return request;
}

TEST(RequestTest, TargetsAreSplitAndDecoded) {
    const Request request = parsed("/v1.50/images/a%2Fb/json?x=1&x=2&filters=%7B%7D&flag&s=a+b");
    EXPECT_EQ(request.api_version, "1.50");
    EXPECT_EQ(request.path, (std::vector<std::string>{"images", "a/b", "json"}));
    EXPECT_EQ(request.query.count("x"), 2u);
    EXPECT_EQ(request.query.find("filters")->second, "{}");
    EXPECT_EQ(request.query.find("flag")->second, "");
    EXPECT_EQ(request.query.find("s")->second, "a b");
    EXPECT_FALSE(parsed("/_ping").api_version);
    EXPECT_FALSE(parsed("/volumes/v1").api_version);
    EXPECT_EQ(parsed("http://docker/_ping").path, std::vector<std::string>{"_ping"});
    EXPECT_EQ(parsed("/a//b").path, (std::vector<std::string>{"a", "", "b"}));
}

TEST(RequestTest, BrokenTargetsAreRefused) {
    const std::string deep(200, '/');
    for (const std::string& target : {std::string("x"), std::string("/%"), std::string("/%4"),
                                      std::string("/?a=%g0"), std::string("/%00"), deep}) {
        Request request;
        EXPECT_FALSE(parse_target(target, request)) << target;
    }
}

/// An exchange that remembers its answer.
class FakeExchange final : public Exchange {
  public:
    explicit FakeExchange(std::string_view method, std::string_view target) {
        request_.method = method;
        EXPECT_TRUE(parse_target(target, request_));
    }
    [[nodiscard]] const Request& request() const override { return request_; }
    [[nodiscard]] const Limits& limits() const override { return limits_; }
    Result<size_t> read_body(std::span<std::byte>) override { return size_t{0}; }
    Status reply(unsigned code, std::string_view, std::string_view text, const Headers&) override {
        status = code;
        body = text;
        return ok();
    }
    Status begin(unsigned, std::string_view, const Headers&) override { return ok(); }
    Status write(std::string_view) override { return ok(); }
    void abandon() override {}
    Result<Hijacked> hijack(std::string_view) override { return Hijacked{}; }
    [[nodiscard]] bool answered() const override { return status != 0; }
    [[nodiscard]] int client_fd() const override { return -1; }

    unsigned status = 0;
    std::string body;

  private:
    Request request_;
    Limits limits_;
};

/// What a router answers.
FakeExchange ask(const Router& router, std::string_view method, std::string_view target) {
    FakeExchange exchange(method, target);
    router.handle(exchange);
    return exchange;
}

TEST(RouterTest, PatternsNameParametersAndWholeRests) {
    Router router;
    const auto show = [](const char* what) {
        return [what](Exchange& exchange, const PathParameters& path) {
            std::string text = what;
            for (const auto& [name, value] : path) {
                text.append(" ").append(name).append("=").append(value);
            }
            return exchange.reply(200, "", text);
        };
    };
    router.add("GET", "/images/json", show("list"));
    router.add("GET", "/images/{name...}/json", show("inspect"));
    router.add("DELETE", "/images/{name...}", show("delete"));
    router.add("GET", "/containers/{id}/json", show("container"));
    EXPECT_EQ(ask(router, "GET", "/images/json").body, "list");
    EXPECT_EQ(ask(router, "GET", "/v1.41/images/json").body, "list");
    EXPECT_EQ(ask(router, "GET", "/images/host:5000/a/b:1/json").body,
              "inspect name=host:5000/a/b:1");
    EXPECT_EQ(ask(router, "DELETE", "/images/a/json").body, "delete name=a/json");
    EXPECT_EQ(ask(router, "GET", "/containers/x/json").body, "container id=x");
    EXPECT_EQ(ask(router, "GET", "/containers//json").status, 404u);
    const auto other_method = ask(router, "POST", "/containers/x/json");
    EXPECT_EQ(other_method.status, 404u);
    EXPECT_EQ(other_method.body, "{\"message\":\"page not found\"}\n");
    EXPECT_EQ(ask(router, "GET", "/nothing").status, 404u);
}

TEST(RouterTest, VersionsHaveToBeOnesThatAreSpoken) {
    Router router;
    router.add("GET", "/x", [](Exchange& exchange, const PathParameters&) {
        return exchange.reply(200, "", "");
    });
    EXPECT_EQ(ask(router, "GET", "/v1.24/x").status, 200u);
    EXPECT_EQ(ask(router, "GET", "/v1.50/x").status, 200u);
    const auto fresh = ask(router, "GET", "/v1.51/x");
    EXPECT_EQ(fresh.status, 400u);
    EXPECT_NE(fresh.body.find("client version 1.51 is too new"), std::string::npos);
    EXPECT_NE(ask(router, "GET", "/v1.11/x").body.find("too old"), std::string::npos);
    EXPECT_EQ(ask(router, "GET", "/v1/x").status, 400u);
    EXPECT_EQ(ask(router, "GET", "/v1.99999999999/x").status, 400u);
}

TEST(RouterTest, ErrorsHaveTheStatusOfTheirCode) {
    Router router;
    router.add("GET", "/x", [](Exchange&, const PathParameters&) -> Status {
        return Error{ErrorCode::kConflict, "it \"is\" so"};
    });
    const auto answer = ask(router, "GET", "/x");
    EXPECT_EQ(answer.status, 409u);
    EXPECT_EQ(answer.body, "{\"message\":\"it \\\"is\\\" so\"}\n");
    EXPECT_EQ(status_of({ErrorCode::kInvalid, ""}), 400u);
    EXPECT_EQ(status_of({ErrorCode::kNotFound, ""}), 404u);
    EXPECT_EQ(status_of({ErrorCode::kUnsupported, ""}), 501u);
    EXPECT_EQ(status_of({ErrorCode::kIo, ""}), 500u);
}

}  // namespace
}  // namespace drupe::http
