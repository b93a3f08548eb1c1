#include "api/client/client.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <cerrno>
#include <limits>
#include <optional>
#include <vector>

namespace drupe::client {
namespace {

namespace http = boost::beast::http;
using Parser = http::response_parser<http::buffer_body>;

constexpr size_t kReadBytes = 64 << 10;
constexpr unsigned kNotModified = 304;
constexpr size_t kSendBytes = 64 << 10;
constexpr int kMaxInterim = 8;  // 1xx answers before the one that counts

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return out;
}

std::string head_of(const Request& request) {
    std::string head = request.method + " " + target_of(request) + " HTTP/1.1\r\nHost: docker\r\n" +
                       "User-Agent: drupe\r\n";
    for (const auto& [name, value] : request.headers)
        head.append(name).append(": ").append(value).append("\r\n");
    if (request.source) {
        head += "Transfer-Encoding: chunked\r\n";
    } else if (!request.body.empty() || request.method == "POST" || request.method == "PUT") {
        head += fmt::format("Content-Length: {}\r\n", request.body.size());
    }
    return head + "\r\n";
}

Result<Fd> connect_to(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        return Error{ErrorCode::kInvalid, "the socket's path is too long: " + path};
    }
    path.copy(address.sun_path, path.size());
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket.valid()) return os_error("socket");
    while (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) <
           0) {
        if (errno != EINTR) return os_error("connect to " + path);
    }
    return socket;
}

/// A daemon that answers before it has read everything closes: what it said is still to be read.
bool is_closed(const Error& error) {
    return error.os_errno == EPIPE || error.os_errno == ECONNRESET;
}

}  // namespace

struct Client::Impl {
    std::string path;
    Limits limits;
    Fd socket;
    std::string bytes;  ///< Received, not yet parsed.
    std::optional<Parser> parser;
    bool used = false;  ///< This connection has served a request before.

    Status connect() {
        if (socket.valid()) return ok();
        TRY_ASSIGN(socket, connect_to(path));
        bytes.clear();
        used = false;
        return ok();
    }
    void drop() {
        socket.reset();
        bytes.clear();
        parser.reset();
    }
    Status send(std::string_view data) const {
        while (!data.empty()) {
            const ssize_t sent = ::send(socket.get(), data.data(), data.size(), MSG_NOSIGNAL);
            if (sent < 0 && errno == EINTR) continue;
            if (sent < 0) return os_error("send to the daemon");
            data.remove_prefix(static_cast<size_t>(sent));
        }
        return ok();
    }
    Status send_chunks(const BodySource& source) const {
        std::vector<std::byte> buffer(kSendBytes);
        for (;;) {
            TRY_ASSIGN(const size_t size, source(buffer));
            if (size == 0) return send("0\r\n\r\n");
            TRY(send(fmt::format("{:x}\r\n", size)));
            TRY(send({reinterpret_cast<const char*>(buffer.data()), size}));
            TRY(send("\r\n"));
        }
    }
    Status send_request(const Request& request) const {
        TRY(send(head_of(request) + request.body));
        return request.source ? send_chunks(request.source) : Status(ok());
    }
    /// False: the daemon has hung up.
    Result<bool> receive() {
        // What can't be parsed yet is a head, or what stands around a chunk.
        if (bytes.size() > limits.head_bytes) {
            return Error{ErrorCode::kLimit, "the daemon's answer makes no sense for too long"};
        }
        std::array<char, kReadBytes> buffer;  // not zeroed: most answers are short
        ssize_t got = 0;
        do {
            got = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
        } while (got < 0 && errno == EINTR);
        if (got < 0) return os_error("receive from the daemon");
        bytes.append(buffer.data(), static_cast<size_t>(got));
        return got > 0;
    }
    /// Parses a piece of what is there (the parser stops at each part of a message, and when it has
    /// no room); receives first if there is nothing to parse. False: the daemon has hung up.
    Result<bool> advance() {
        boost::beast::error_code error = http::error::need_more;
        if (!bytes.empty()) {
            const size_t parsed = parser->put(boost::asio::buffer(bytes), error);
            bytes.erase(0, parsed);
        }
        if (error == http::error::need_more) return receive();
        if (!error || error == http::error::need_buffer) return true;
        if (error == http::error::header_limit) {
            return Error{ErrorCode::kLimit, "the daemon's answer has too long a head"};
        }
        return Error{ErrorCode::kCorrupt, "the daemon's answer isn't HTTP: " + error.message()};
    }
    Status read_one_head(bool without_body) {
        parser.emplace();
        parser->header_limit(static_cast<uint32_t>(limits.head_bytes));
        parser->body_limit(boost::none);
        parser->skip(without_body);
        while (!parser->is_header_done()) {
            TRY_ASSIGN(const bool more, advance());
            if (!more) return Error{ErrorCode::kIo, "the daemon has hung up", ECONNRESET};
        }
        return ok();
    }
    Result<Head> read_head(bool without_body) {
        for (int i = 0; i < kMaxInterim; ++i) {
            TRY(read_one_head(without_body));
            const unsigned status = parser->get().result_int();
            if (status < 200 && status != 101) continue;
            Head head;
            head.status = status;
            for (const auto& field : parser->get()) {
                head.headers.emplace_back(
                    lower({field.name_string().data(), field.name_string().size()}),
                    std::string(field.value().data(), field.value().size()));
            }
            return head;
        }
        return Error{ErrorCode::kLimit, "the daemon's answer doesn't begin"};
    }
    Result<Head> exchange(const Request& request) {
        TRY(connect());
        used = true;
        if (auto sent = send_request(request); !sent && !is_closed(sent.error()))
            return sent.error();
        return read_head(request.method == "HEAD");
    }
    /// Whether the daemon has closed a connection that was kept, or says what nobody asked for.
    [[nodiscard]] bool is_stale() const {
        pollfd poll{socket.get(), POLLIN | POLLRDHUP, 0};
        return used && ::poll(&poll, 1, 0) != 0;
    }
    /// A connection that was kept may be closed by the daemon at any moment: then once more, on a
    /// new one. Only what changes nothing: a daemon that died may have done the rest.
    Result<Head> begin(const Request& request) {
        if (parser && !parser->is_done()) drop();  // of an answer that nobody wanted to the end
        if (socket.valid() && is_stale()) drop();
        const bool may_repeat =
            socket.valid() && used && (request.method == "GET" || request.method == "HEAD");
        auto head = exchange(request);
        if (!head && may_repeat && is_closed(head.error()) && bytes.empty()) {
            drop();
            head = exchange(request);
        }
        if (!head) drop();
        return head;
    }
    Result<size_t> read(std::span<std::byte> out) {
        if (!parser || out.empty()) return size_t{0};
        auto& body = parser->get().body();
        body.data = out.data();
        body.size = out.size();
        body.more = true;
        while (!parser->is_done() && body.size == out.size()) {
            TRY_ASSIGN(const bool more, advance());
            if (more) continue;
            boost::beast::error_code error;
            parser->put_eof(error);
            if (error) return Error{ErrorCode::kCorrupt, "the daemon's answer ends too early"};
        }
        const size_t size = out.size() - body.size;
        if (size == 0 && !parser->keep_alive()) drop();
        return size;
    }
    Status drain(const BodySink& sink) {
        std::vector<std::byte> buffer(kReadBytes);
        for (;;) {
            auto size = read(buffer);
            auto taken = size ? Status(ok()) : Status(size.error());
            if (size && size.value() == 0) return ok();
            if (size) taken = sink({reinterpret_cast<const char*>(buffer.data()), size.value()});
            if (taken) continue;
            drop();
            return taken;
        }
    }
    Result<std::string> whole(size_t most) {
        std::string body;
        TRY(drain([&](std::string_view piece) -> Status {
            if (piece.size() > most - body.size()) {
                return Error{ErrorCode::kLimit, "the daemon's answer is too long"};
            }
            body += piece;
            return ok();
        }));
        return body;
    }
    /// The head of an answer that isn't an error.
    Result<Head> begin_well(const Request& request) {
        TRY_ASSIGN(Head head, begin(request));
        if (head.status < 300 || head.status == kNotModified) return head;
        TRY_ASSIGN(const std::string body, whole(limits.error_bytes));
        return error_of(head.status, body);
    }
};

Client::Client(std::string socket_path, const Limits& limits) : impl_(std::make_unique<Impl>()) {
    impl_->path = std::move(socket_path);
    impl_->limits = limits;
}
Client::~Client() = default;
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;

Client Client::another() const {
    return Client(impl_->path, impl_->limits);
}
Status Client::connect() {
    return impl_->connect();
}
int Client::socket() const {
    return impl_->socket.get();
}
Result<Head> Client::begin(const Request& request) {
    return impl_->begin_well(request);
}
Result<size_t> Client::read(std::span<std::byte> out) {
    return impl_->read(out);
}

Result<Response> Client::request(const Request& request) {
    Response response;
    TRY_ASSIGN(response.head, impl_->begin_well(request));
    TRY_ASSIGN(response.body, impl_->whole(impl_->limits.body_bytes));
    return response;
}

Result<Head> Client::stream(const Request& request, const BodySink& sink) {
    TRY_ASSIGN(Head head, impl_->begin_well(request));
    TRY(impl_->drain(sink));
    return head;
}

Result<Hijacked> Client::hijack(Request request) {
    request.headers.emplace_back("Connection", "Upgrade");
    request.headers.emplace_back("Upgrade", "tcp");
    Hijacked hijacked;
    TRY_ASSIGN(hijacked.head, impl_->begin_well(request));
    if (hijacked.head.status != 101) {
        impl_->drop();
        return Error{ErrorCode::kCorrupt, "the daemon didn't give its connection away"};
    }
    hijacked.early = std::move(impl_->bytes);
    hijacked.socket = std::move(impl_->socket);
    impl_->drop();
    return hijacked;
}

Status LineReader::push(std::string_view bytes) {
    for (;;) {
        const size_t end = bytes.find('\n');
        const std::string_view piece = bytes.substr(0, end);
        if (piece.size() > max_bytes_ - partial_.size()) {
            return Error{ErrorCode::kLimit, "a line of the daemon's answer is too long"};
        }
        partial_ += piece;
        if (end == std::string_view::npos) return ok();
        bytes.remove_prefix(end + 1);
        const std::string line = std::exchange(partial_, "");
        if (!line.empty() && line != "\r") {
            TRY(sink_(line));
        }
    }
}

Status LineReader::finish() {
    const std::string line = std::exchange(partial_, "");
    return line.empty() ? Status(ok()) : sink_(line);
}

}  // namespace drupe::client
