#include "api/server/connection.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/status.hpp>
#include <cerrno>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

namespace drupe::http {
namespace {

namespace beast = boost::beast;
using Parser = beast::http::request_parser<beast::http::buffer_body>;

constexpr size_t kReadBytes = 16 << 10;
constexpr size_t kDrainBytes = 256 << 10;  // of a body that nobody wanted

std::string_view reason(unsigned status) {
    const auto text = beast::http::obsolete_reason(static_cast<beast::http::status>(status));
    return {text.data(), text.size()};
}

/// kLimit after the time; an error if the other end has gone.
Status await(int fd, short events, std::chrono::milliseconds limit) {
    pollfd poll{fd, events, 0};
    for (;;) {
        const int ready = ::poll(&poll, 1, static_cast<int>(limit.count()));
        if (ready > 0) return ok();
        if (ready == 0) return Error{ErrorCode::kLimit, "the client is too slow"};
        if (errno != EINTR) return os_error("poll");
    }
}

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return out;
}

std::string error_body(std::string_view message) {
    const nlohmann::json body{{"message", message}};
    return body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace

struct Connection::Parsing {
    std::optional<Parser> parser;
    std::string bytes;  ///< Received, not yet parsed.

    void fresh(const Limits& limits) {
        parser.emplace();
        parser->header_limit(static_cast<std::uint32_t>(limits.head_bytes));
        parser->body_limit(boost::none);
    }
    /// Parses what is there.
    beast::error_code put() {
        beast::error_code error;
        const size_t used = parser->put(boost::asio::buffer(bytes), error);
        bytes.erase(0, used);
        return error;
    }
    /// Receives what is there now. 0: the end; kLimit: nothing yet.
    Result<size_t> receive(int fd) {
        std::array<char, kReadBytes> buffer;
        for (;;) {
            const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
            if (got >= 0) {
                bytes.append(buffer.data(), static_cast<size_t>(got));
                return static_cast<size_t>(got);
            }
            if (errno == EAGAIN) return Error{ErrorCode::kLimit, "nothing yet", EAGAIN};
            if (errno != EINTR) return os_error("receive from the client");
        }
    }
};

/// See Exchange.
class ConnectionExchange final : public Exchange {
  public:
    ConnectionExchange(Connection& connection, Request request, Headers headers)
        : connection_(connection), request_(std::move(request)), headers_(std::move(headers)) {
        old_ = parser().get().version() < 11;
        head_ = request_.method == "HEAD";
        expects_continue_ = lower(request_.header("expect")) == "100-continue";
    }

    [[nodiscard]] const Request& request() const override { return request_; }
    [[nodiscard]] const Limits& limits() const override { return connection_.limits_; }
    [[nodiscard]] bool answered() const override { return state_ != State::kOpen; }
    [[nodiscard]] int client_fd() const override { return connection_.fd(); }

    Result<size_t> read_body(std::span<std::byte> out) override {
        if (out.empty() || parser().is_done()) return size_t{0};
        if (expects_continue_) {
            expects_continue_ = false;
            TRY(send("HTTP/1.1 100 Continue\r\n\r\n"));
        }
        auto& body = parser().get().body();
        body.data = out.data();
        body.size = out.size();
        body.more = true;
        for (;;) {
            const size_t before = parsing().bytes.size();
            auto error = parsing().put();
            if (error == beast::http::error::need_buffer) error = {};
            if (error && error != beast::http::error::need_more) {
                broken_ = true;
                return Error{ErrorCode::kInvalid, "the request's body: " + error.message()};
            }
            if (body.size < out.size()) return out.size() - body.size;
            if (parser().is_done()) return size_t{0};
            // A chunk's head, its content and the end are taken one after the other.
            const size_t left = parsing().bytes.size();
            if (left > 0 && left < before) continue;
            TRY(receive(limits().body));
        }
    }

    Status reply(unsigned status, std::string_view content_type, std::string_view body,
                 const Headers& headers) override {
        state_ = State::kReplied;
        const bool empty = status == 204 || status == 304;
        std::string text = head(status, content_type, headers);
        if (!empty) text += fmt::format("Content-Length: {}\r\n", body.size());
        text += "\r\n";
        if (!head_ && !empty) text += body;
        return send(text);
    }

    Status begin(unsigned status, std::string_view content_type, const Headers& headers) override {
        state_ = State::kStreaming;
        std::string text = head(status, content_type, headers);
        if (old_) {
            closes_ = true;
        } else {
            text += "Transfer-Encoding: chunked\r\n";
        }
        return send(text + "\r\n");
    }

    Status write(std::string_view data) override {
        if (data.empty() || head_) return ok();
        if (old_) return send(data);
        const std::string size = fmt::format("{:x}\r\n", data.size());
        return send(size, data, "\r\n");
    }

    Result<Hijacked> hijack(std::string_view content_type) override {
        // What is left of the body isn't the stream's.
        while (!parser().is_done()) {
            std::array<std::byte, 4096> rest{};
            TRY(read_body(rest));
        }
        state_ = State::kHijacked;
        std::string text;
        if (request_.wants_upgrade) {
            text = fmt::format(
                "HTTP/1.1 101 UPGRADED\r\nContent-Type: {}\r\nConnection: Upgrade\r\n"
                "Upgrade: {}\r\n",
                content_type,
                request_.header("upgrade").empty() ? "tcp" : request_.header("upgrade"));
        } else {
            text = fmt::format("HTTP/1.1 200 OK\r\nContent-Type: {}\r\n", content_type);
        }
        for (const auto& [name, value] : headers_) text += fmt::format("{}: {}\r\n", name, value);
        TRY(send(text + "\r\n"));
        return Hijacked{connection_.fd(), std::move(parsing().bytes)};
    }

    void abandon() override { failed_ = true; }

    /// Ends the answer; whether another request may follow.
    bool end() {
        if (state_ == State::kOpen) {
            static_cast<void>(reply(500, "application/json", error_body("no answer"), {}));
        }
        if (state_ == State::kHijacked) {
            linger();
            return false;
        }
        if (failed_) return false;
        if (state_ == State::kStreaming && !old_ && !head_ && !send("0\r\n\r\n")) return false;
        if (failed_ || broken_ || closes_ || !request_.keep_alive) return false;
        return drain();
    }

  private:
    enum class State : uint8_t { kOpen, kReplied, kStreaming, kHijacked };

    [[nodiscard]] Connection::Parsing& parsing() const { return *connection_.parsing_; }
    [[nodiscard]] Parser& parser() const { return *parsing().parser; }

    std::string head(unsigned status, std::string_view content_type, const Headers& headers) {
        std::string text = fmt::format("HTTP/1.1 {} {}\r\n", status, reason(status));
        for (const auto& [name, value] : headers_) text += fmt::format("{}: {}\r\n", name, value);
        for (const auto& [name, value] : headers) text += fmt::format("{}: {}\r\n", name, value);
        if (!content_type.empty()) text += fmt::format("Content-Type: {}\r\n", content_type);
        if (!request_.keep_alive) text += "Connection: close\r\n";
        return text;
    }

    Status receive(std::chrono::milliseconds limit) {
        for (;;) {
            const auto got = parsing().receive(connection_.fd());
            if (got && got.value() == 0) {
                broken_ = true;
                return Error{ErrorCode::kInvalid, "the request's body ended too early"};
            }
            if (got) return ok();
            if (got.error().os_errno != EAGAIN) return got.error();
            if (auto waited = await(connection_.fd(), POLLIN, limit); !waited) {
                broken_ = true;
                return waited;
            }
        }
    }

    /// Lets a client that still sends see the end of what we said: closed at once, its next read
    /// would be an error.
    void linger() {
        constexpr std::chrono::seconds kLonger{2};
        ::shutdown(connection_.fd(), SHUT_WR);
        const auto until = std::chrono::steady_clock::now() + kLonger;
        for (;;) {
            parsing().bytes.clear();
            const auto got = parsing().receive(connection_.fd());
            if (got ? got.value() == 0 : got.error().os_errno != EAGAIN) return;
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(
                until - std::chrono::steady_clock::now());
            if (left.count() <= 0) return;
            if (!got && !await(connection_.fd(), POLLIN, left)) return;
        }
    }

    /// A body that the handler left: a small rest is read, so that the connection can go on.
    bool drain() {
        std::array<std::byte, 4096> rest{};
        for (size_t total = 0; !parser().is_done(); total += rest.size()) {
            if (total > kDrainBytes || expects_continue_) return false;
            const auto got = read_body(rest);
            if (!got) return false;
        }
        return true;
    }

    template <class... Parts>
    Status send(const Parts&... parts) {
        std::array<iovec, sizeof...(parts)> vectors{iovec{
            const_cast<char*>(std::string_view(parts).data()), std::string_view(parts).size()}...};
        auto sent = send_all(vectors);
        if (!sent) failed_ = true;
        return sent;
    }

    Status send_all(std::span<iovec> vectors) {
        while (!vectors.empty()) {
            msghdr message{};
            message.msg_iov = vectors.data();
            message.msg_iovlen = vectors.size();
            const ssize_t sent = ::sendmsg(connection_.fd(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent < 0) {
                if (errno == EINTR) continue;
                if (errno != EAGAIN) return os_error("send to the client");
                TRY(await(connection_.fd(), POLLOUT, limits().write));
                continue;
            }
            auto left = static_cast<size_t>(sent);
            while (!vectors.empty() && left >= vectors.front().iov_len) {
                left -= vectors.front().iov_len;
                vectors = vectors.subspan(1);
            }
            if (!vectors.empty()) {
                vectors.front().iov_base = static_cast<char*>(vectors.front().iov_base) + left;
                vectors.front().iov_len -= left;
            }
        }
        return ok();
    }

    Connection& connection_;
    Request request_;
    Headers headers_;
    State state_ = State::kOpen;
    bool old_ = false;   // HTTP/1.0
    bool head_ = false;  // the answer has no body
    bool expects_continue_ = false;
    bool closes_ = false;
    bool broken_ = false;  // what comes next can't be parsed
    bool failed_ = false;  // the client doesn't take what we send
};

Connection::Connection(Fd socket, const Limits& limits)
    : socket_(std::move(socket)), limits_(limits), parsing_(std::make_unique<Parsing>()) {
    static_cast<void>(set_nonblocking(socket_.get(), true));
    parsing_->fresh(limits_);
}

Connection::~Connection() = default;

bool Connection::head_begun() const {
    return !parsing_->bytes.empty() || parsing_->parser->got_some();
}

Connection::Head Connection::read_head() {
    for (;;) {
        if (!parsing_->bytes.empty()) {
            const auto error = parsing_->put();
            if (parsing_->parser->is_header_done()) return Head::kComplete;
            if (error == beast::http::error::header_limit ||
                parsing_->bytes.size() > limits_.head_bytes) {
                refuse(431, "the request's head is too long");
                return Head::kClosed;
            }
            if (error && error != beast::http::error::need_more) {
                refuse(400, "not an HTTP request: " + error.message());
                return Head::kClosed;
            }
        }
        const auto got = parsing_->receive(fd());
        if (!got && got.error().os_errno == EAGAIN) return Head::kIncomplete;
        if (!got || got.value() == 0) return Head::kClosed;
    }
}

std::unique_ptr<Exchange> Connection::begin_exchange(const Headers& headers) {
    const auto& message = parsing_->parser->get();
    Request request;
    request.method = std::string(message.method_string());
    for (const auto& field : message) {
        const std::string_view name(field.name_string().data(), field.name_string().size());
        const std::string_view value(field.value().data(), field.value().size());
        request.headers[lower(name)] = value;
    }
    request.keep_alive = message.keep_alive();
    request.wants_upgrade =
        lower(request.header("connection")).find("upgrade") != std::string::npos;
    const std::string_view target(message.target().data(), message.target().size());
    if (auto parsed = parse_target(target, request); !parsed) {
        refuse(400, parsed.error().message);
        return nullptr;
    }
    return std::make_unique<ConnectionExchange>(*this, std::move(request), headers);
}

bool Connection::end_exchange(Exchange& exchange) {
    if (!static_cast<ConnectionExchange&>(exchange).end()) return false;
    parsing_->fresh(limits_);
    return true;
}

void Connection::refuse(unsigned status, std::string_view message) {
    const std::string body = error_body(message);
    const std::string text = fmt::format(
        "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n"
        "Connection: close\r\n\r\n{}",
        status, reason(status), body.size(), body);
    static_cast<void>(::send(fd(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
}

Result<std::string> Exchange::read_whole_body(size_t max_bytes) {
    std::string body;
    std::vector<std::byte> buffer(16 << 10);
    for (;;) {
        TRY_ASSIGN(const size_t got, read_body(buffer));
        if (got == 0) return body;
        if (body.size() + got > max_bytes) {
            return Error{ErrorCode::kInvalid,
                         fmt::format("the request's body is longer than {} bytes", max_bytes)};
        }
        body.append(reinterpret_cast<const char*>(buffer.data()), got);
    }
}

}  // namespace drupe::http
