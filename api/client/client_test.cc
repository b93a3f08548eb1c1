// The client against a server that says what a test wants it to.

#include "api/client/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <thread>

namespace drupe::client {
namespace {

using ::testing::HasSubstr;

/// One connection after the other; on each, one answer after the other, each sent when the end of a
/// request has come.
class ClientTest : public ::testing::Test {
  protected:
    using Answers = std::vector<std::string>;

    void SetUp() override {
        char folder[] = "/tmp/drupe-client-XXXXXX";
        ASSERT_NE(::mkdtemp(folder), nullptr);
        folder_ = folder;
        path_ = folder_ + "/socket";
    }
    void TearDown() override {
        client_.reset();
        if (thread_.joinable()) thread_.join();
        ::unlink(path_.c_str());
        ::rmdir(folder_.c_str());
    }
    void serve(std::vector<Answers> connections, std::string end_of_request = "\r\n\r\n") {
        Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path_.copy(address.sun_path, path_.size());
        ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        ASSERT_EQ(::listen(listener.get(), 8), 0);
        thread_ =
            std::thread([this, listener = std::move(listener), connections = std::move(connections),
                         end = std::move(end_of_request)] {
                for (const Answers& answers : connections) {
                    const Fd peer(::accept(listener.get(), nullptr, nullptr));
                    std::string got;
                    for (const std::string& answer : answers) {
                        char buffer[4096];
                        while (!got.ends_with(end)) {
                            const ssize_t n = ::recv(peer.get(), buffer, sizeof buffer, 0);
                            if (n <= 0) return;
                            got.append(buffer, static_cast<size_t>(n));
                        }
                        requests_.push_back(std::exchange(got, ""));
                        ::send(peer.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
                    }
                }
            });
        client_.emplace(path_, limits_);
    }
    /// The requests that the server has seen; ends it.
    std::vector<std::string> requests() {
        client_.reset();
        if (thread_.joinable()) thread_.join();
        return requests_;
    }
    static Request get(const std::string& path) {
        Request request;
        request.method = "GET";
        request.path = path;
        return request;
    }

    std::string folder_;
    std::string path_;
    Limits limits_;
    std::optional<Client> client_;
    std::thread thread_;
    std::vector<std::string> requests_;
};

TEST_F(ClientTest, OneConnectionServesSeveralRequests) {
    serve({{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n"}});
    Request first = get("/containers/json");
    first.query = {{"all", "1"}, {"filters", "{\"name\":[\"a b\"]}"}};
    const auto one = client_->request(first);
    ASSERT_TRUE(one) << one.error().message;
    EXPECT_EQ(one.value().head.status, 200u);
    EXPECT_EQ(one.value().head.header("x-a"), "b");
    EXPECT_EQ(one.value().body, "hello");
    EXPECT_EQ(client_->request(get("/b")).value().body, "abcde");
    EXPECT_EQ(client_->request(get("/c")).value().head.status, 204u);
    const auto seen = requests();
    ASSERT_EQ(seen.size(), 3u);
    EXPECT_THAT(seen[0], HasSubstr("GET /containers/json?all=1&filters="
                                   "%7B%22name%22%3A%5B%22a%20b%22%5D%7D HTTP/1.1\r\n"));
}

TEST_F(ClientTest, AConnectionThatTheDaemonClosedIsMadeAnew) {
    serve({{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"},
           {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb"}});
    EXPECT_EQ(client_->request(get("/")).value().body, "a");
    EXPECT_EQ(client_->request(get("/")).value().body, "b");
}

TEST_F(ClientTest, OnlyWhatChangesNothingIsSentAgain) {
    serve({{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", ""},
           {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb", ""},
           {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nc"}});
    Request post = get("/containers/create");
    post.method = "POST";
    EXPECT_EQ(client_->request(get("/")).value().body, "a");
    EXPECT_EQ(client_->request(get("/")).value().body, "b");  // of the second connection
    EXPECT_EQ(client_->request(post).error().code, ErrorCode::kIo);
    EXPECT_EQ(client_->request(post).value().body, "c");
    EXPECT_EQ(requests().size(), 5u);
}

TEST_F(ClientTest, AChunkWithoutAnEndToItsHeadIsBounded) {
    limits_.head_bytes = 1000;
    serve(
        {{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;" + std::string(1 << 20, 'a')}});
    EXPECT_EQ(client_->request(get("/")).error().code, ErrorCode::kLimit);
}

TEST_F(ClientTest, AStatusFrom300OnIsTheDaemonsError) {
    const auto answer = [](const std::string& status, const std::string& body) {
        return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) +
               "\r\n\r\n" + body;
    };
    serve(
        {{answer("404 Not Found", "{\"message\":\"No such container: x\\u001b[2J\"}"),
          answer("409 Conflict", "{\"message\":\"in use\"}"), answer("400 Bad", "{\"message\":7}"),
          "HTTP/1.1 304 Not Modified\r\n\r\n", answer("500 Oh", "<html>")}});
    const auto missing = client_->request(get("/"));
    EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
    EXPECT_EQ(missing.error().message, "No such container: x?[2J");
    EXPECT_EQ(client_->request(get("/")).error().code, ErrorCode::kConflict);
    const auto invalid = client_->request(get("/"));
    EXPECT_EQ(invalid.error().code, ErrorCode::kInvalid);
    EXPECT_THAT(invalid.error().message, HasSubstr("400"));
    EXPECT_EQ(client_->request(get("/")).value().head.status, 304u);
    EXPECT_EQ(client_->request(get("/")).error().code, ErrorCode::kInternal);
}

TEST_F(ClientTest, ABodyIsStreamedInChunks) {
    serve({{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}},
          "\r\n0\r\n\r\n");
    Request request = get("/images/load");
    request.method = "POST";
    int pieces = 0;
    request.source = [&](std::span<std::byte> out) -> Result<size_t> {
        if (++pieces > 2) return size_t{0};
        out[0] = std::byte{'x'};
        out[1] = static_cast<std::byte>('0' + pieces);
        return size_t{2};
    };
    const auto answer = client_->request(request);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_THAT(requests().at(0), HasSubstr("\r\n\r\n2\r\nx1\r\n2\r\nx2\r\n0\r\n\r\n"));
}

TEST_F(ClientTest, AHijackedConnectionKeepsWhatCameWithTheHead) {
    serve({{"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly"}});
    Request request = get("/containers/a/attach");
    request.method = "POST";
    auto hijacked = client_->hijack(request);
    ASSERT_TRUE(hijacked) << hijacked.error().message;
    EXPECT_EQ(hijacked.value().early, "early");
    char byte = 0;
    EXPECT_EQ(::recv(hijacked.value().socket.get(), &byte, 1, 0), 0);
    EXPECT_THAT(requests().at(0), HasSubstr("Upgrade: tcp\r\n"));
}

TEST_F(ClientTest, AnAnswerWithoutHijackingIsAnError) {
    serve({{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}});
    EXPECT_EQ(client_->hijack(get("/")).error().code, ErrorCode::kCorrupt);
}

TEST_F(ClientTest, WhatADaemonCanHaveItKeepIsBounded) {
    limits_.head_bytes = 1000;
    limits_.body_bytes = 4;
    limits_.error_bytes = 4;
    serve({{"HTTP/1.1 200 OK\r\nX: " + std::string(4000, 'a') + "\r\n\r\n"},
           {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde"},
           {"HTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\nabcde"}});
    for (int i = 0; i < 3; ++i)
        EXPECT_EQ(client_->request(get("/")).error().code, ErrorCode::kLimit) << i;
}

TEST_F(ClientTest, NonsenseAndAnswersThatEndEarlyAreErrors) {
    serve({{"SSH-2.0-OpenSSH\r\n\r\n"},
           {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"},
           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"},
           {""}});
    for (int i = 0; i < 3; ++i)
        EXPECT_EQ(client_->request(get("/")).error().code, ErrorCode::kCorrupt) << i;
    EXPECT_EQ(client_->request(get("/")).error().code, ErrorCode::kIo);
}

TEST_F(ClientTest, ASinkThatFailsEndsTheRequest) {
    serve({{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde"}});
    const auto head = client_->stream(get("/"), [](std::string_view) -> Status {
        return Error{ErrorCode::kIo, "full"};
    });
    EXPECT_EQ(head.error().message, "full");
}

TEST_F(ClientTest, NobodyListensIsToldApart) {
    Client client(path_);
    EXPECT_EQ(client.connect().error().os_errno, ENOENT);
    EXPECT_EQ(Client(std::string(200, 'a')).connect().error().code, ErrorCode::kInvalid);
}

TEST(LineReader, LinesAreWholeAndBounded) {
    std::vector<std::string> lines;
    LineReader reader(
        [&](std::string_view line) -> Status {
            lines.emplace_back(line);
            return ok();
        },
        6);
    ASSERT_TRUE(reader.push("{\"a"));
    ASSERT_TRUE(reader.push("\"}\n\r\n{}\n[]"));
    ASSERT_TRUE(reader.finish());
    EXPECT_EQ(lines, (std::vector<std::string>{"{\"a\"}", "{}", "[]"}));
    EXPECT_EQ(reader.push("1234567").error().code, ErrorCode::kLimit);
}

TEST(Escape, OnlyUnreservedCharactersStay) {
    EXPECT_EQ(escape("a-Z_0.~/ %\xc3\n"), "a-Z_0.~%2F%20%25%C3%0A");
}

}  // namespace
}  // namespace drupe::client
