#include "imagefs/registry/connection.h"

#include <fmt/core.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/sslerr.h>
#include <openssl/x509v3.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <chrono>
#include <optional>

#include "imagefs/registry/tls_context.h"

namespace drupe::imagefs::registry {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr size_t kBufferBytes = 256 << 10;
constexpr uint32_t kMaxHeadBytes = 64 << 10;
constexpr int kMaxInterim = 8;  // 1xx answers before the one that counts
constexpr milliseconds kStopPoll{100};

bool is_tls(const error_code& ec) {
    return ec.category() == asio::error::get_ssl_category();
}

/// What a body has to keep up with; only the time spent on waiting for the other end counts.
class Pace {
  public:
    explicit Pace(const HttpLimits& limits) : limits_(limits) {}
    /// Bytes that moved since `start`; false: it is too slow.
    bool keeps(size_t bytes, steady_clock::time_point start) {
        moved_ += bytes;
        waited_ += steady_clock::now() - start;
        if (waited_ < milliseconds(limits_.window_ms)) return true;
        const bool enough = moved_ >= limits_.window_bytes;
        waited_ = {};
        moved_ = 0;
        return enough;
    }

  private:
    const HttpLimits& limits_;
    steady_clock::duration waited_{};
    uint64_t moved_ = 0;
};

/// The loop of one connection: asynchronous operations, each waited for with a time limit.
class Loop {
  public:
    explicit Loop(const std::atomic<bool>* stop) : stop_(stop) {}
    asio::io_context& context() { return context_; }

    /// Runs what `start` begins (it is given the handler) to its end; `cancel` is for a stop.
    template <class Start, class Cancel>
    error_code run(Start&& start, Cancel&& cancel) {
        std::optional<error_code> done;
        start([&done](const error_code& ec, auto&&...) { done = ec; });
        context_.restart();
        bool cancelled = false;
        while (!done) {
            context_.run_for(kStopPoll);
            if (!done && !cancelled && stop_ != nullptr && stop_->load()) {
                cancel();
                cancelled = true;
            }
        }
        return cancelled ? error_code(asio::error::operation_aborted) : *done;
    }

  private:
    asio::io_context context_{1};
    const std::atomic<bool>* stop_;
};

template <class Stream>
class StreamConnection final : public Connection {
  public:
    template <class... StreamArgs>
    StreamConnection(const Url& url, const HttpLimits& limits,
                     std::unique_ptr<asio::ssl::context> tls, StreamArgs&... args)
        : where_(url.authority()),
          limits_(limits),
          loop_(std::make_unique<Loop>(limits.stop)),
          tls_(std::move(tls)),
          stream_(loop_->context(), args...) {}

    Status connect(const Url& url) {
        const auto until = steady_clock::now() + milliseconds(limits_.connect_ms);
        const auto left_ms = [&] {
            const auto left = std::chrono::duration_cast<milliseconds>(until - steady_clock::now());
            return static_cast<uint32_t>(std::max<int64_t>(left.count(), 1));
        };
        tcp::resolver resolver(loop_->context());
        tcp::resolver::results_type addresses;
        error_code ec = loop_->run(
            [&](auto handler) {
                resolver.async_resolve(url.host, std::to_string(url.port),
                                       [&addresses, handler](const error_code& result,
                                                             tcp::resolver::results_type found) {
                                           addresses = std::move(found);
                                           handler(result);
                                       });
            },
            [&] { resolver.cancel(); });
        if (ec) return failed("look up", ec);
        ec = wait(left_ms(), [&](auto handler) { socket().async_connect(addresses, handler); });
        if (ec) return failed("connect to", ec);
        error_code ignored;
        socket().socket().set_option(tcp::no_delay(true), ignored);
        if constexpr (!std::is_same_v<Stream, beast::tcp_stream>)
            return shake_hands(url, left_ms());
        return ok();
    }

    Status send(const RequestHead& head, ByteSource* body) override {
        parser_.reset();
        std::string text = head.method + " " + head.target + " HTTP/1.1\r\n";
        for (const auto& [name, value] : head.headers.fields()) {
            text.append(name).append(": ").append(value).append("\r\n");
        }
        if (body != nullptr || head.method == "POST" || head.method == "PUT") {
            text += fmt::format("Content-Length: {}\r\n", head.body_bytes);
        }
        text += "\r\n";
        TRY(write(std::as_bytes(std::span(text))));
        return body == nullptr ? Status(ok()) : send_body(*body, head.body_bytes);
    }

    Result<ResponseHead> read_head(bool without_body) override {
        for (int i = 0; i < kMaxInterim; ++i) {
            parser_.emplace();
            parser_->header_limit(kMaxHeadBytes);
            parser_->body_limit(boost::none);
            if (without_body) parser_->skip(true);
            const error_code ec = wait(limits_.head_ms, [&](auto handler) {
                http::async_read_header(stream_, buffer_, *parser_, handler);
            });
            if (ec) return failed("read the answer of", ec);
            if (parser_->get().result_int() < 200) continue;
            pace_.emplace(limits_);
            ResponseHead head{parser_->get().result_int(), {}};
            for (const auto& field : parser_->get()) {
                head.headers.add(std::string(field.name_string()), std::string(field.value()));
            }
            return head;
        }
        return Error{ErrorCode::kLimit, where_ + " doesn't come to an answer"};
    }

    Result<size_t> read_body(std::span<std::byte> out) override {
        while (!parser_->is_done()) {
            auto& body = parser_->get().body();
            body.data = out.data();
            body.size = out.size();
            body.more = true;
            const auto start = steady_clock::now();
            error_code ec = wait(limits_.idle_ms, [&](auto handler) {
                http::async_read_some(stream_, buffer_, *parser_, handler);
            });
            if (ec == http::error::need_buffer) ec = {};
            const size_t got = out.size() - body.size;
            if (ec) return failed("read from", ec);
            if (!pace_->keeps(got, start)) return too_slow();
            if (got > 0) return got;
        }
        return size_t{0};
    }

    [[nodiscard]] bool reusable() const override {
        return parser_ && parser_->is_done() && parser_->keep_alive();
    }

  private:
    beast::tcp_stream& socket() { return beast::get_lowest_layer(stream_); }

    template <class Start>
    error_code wait(uint32_t timeout_ms, Start&& start) {
        socket().expires_after(milliseconds(timeout_ms));
        const error_code ec = loop_->run(std::forward<Start>(start), [this] { socket().cancel(); });
        socket().expires_never();
        return ec;
    }

    Status shake_hands(const Url& url, uint32_t timeout_ms) {
        SSL* const ssl = stream_.native_handle();
        const bool verifies = SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE;
        if (verifies) {
            // A certificate names addresses in other fields than names.
            X509_VERIFY_PARAM* const wanted = SSL_get0_param(ssl);
            if (X509_VERIFY_PARAM_set1_ip_asc(wanted, url.host.c_str()) != 1) {
                X509_VERIFY_PARAM_set1_host(wanted, url.host.c_str(), 0);
            }
        }
        const bool is_name = url.host.find(':') == std::string::npos &&
                             url.host.find_first_not_of("0123456789.") != std::string::npos;
        if (is_name) {
            std::string name = url.host;  // SSL_set_tlsext_host_name() without its C cast
            SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name.data());
        }
        const error_code ec = wait(timeout_ms, [&](auto handler) {
            stream_.async_handshake(asio::ssl::stream_base::client, handler);
        });
        if (!ec) return ok();
        const long verdict = SSL_get_verify_result(ssl);
        if (verifies && verdict != X509_V_OK) {
            return Error{ErrorCode::kDenied,
                         fmt::format("{}: its certificate isn't trusted: {}", where_,
                                     X509_verify_cert_error_string(verdict))};
        }
        const int reason = ERR_GET_REASON(static_cast<unsigned long>(ec.value()));
        if ((is_tls(ec) &&
             (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST)) ||
            ec == asio::error::eof || ec == asio::ssl::error::stream_truncated) {
            return Error{ErrorCode::kUnsupported, where_ + " doesn't speak TLS"};
        }
        return failed("set up TLS with", ec);
    }

    Status send_body(ByteSource& body, uint64_t size) {
        Pace pace(limits_);
        std::vector<std::byte> buffer(
            std::min<uint64_t>(kBufferBytes, std::max<uint64_t>(size, 1)));
        while (size > 0) {
            TRY_ASSIGN(const size_t got,
                       body.read(std::span(buffer).first(std::min<uint64_t>(size, buffer.size()))));
            if (got == 0) return Error{ErrorCode::kCorrupt, "what is sent ends too early"};
            const auto start = steady_clock::now();
            TRY(write(std::span(buffer).first(got)));
            if (!pace.keeps(got, start)) return too_slow();
            size -= got;
        }
        return ok();
    }

    Status write(std::span<const std::byte> data) {
        while (!data.empty()) {
            size_t written = 0;
            const error_code ec = wait(limits_.idle_ms, [&](auto handler) {
                stream_.async_write_some(asio::buffer(data.data(), data.size()),
                                         [&written, handler](const error_code& result, size_t n) {
                                             written = n;
                                             handler(result);
                                         });
            });
            if (ec) return failed("write to", ec);
            data = data.subspan(written);
        }
        return ok();
    }

    Error failed(std::string_view what, const error_code& ec) const {
        ErrorCode code = ErrorCode::kIo;
        if (ec == beast::error::timeout || ec == http::error::header_limit)
            code = ErrorCode::kLimit;
        if (ec == asio::error::host_not_found) code = ErrorCode::kNotFound;  // again is no use
        if (ec == beast::error::timeout) {
            return {code, fmt::format("{} {}: it takes too long", what, where_)};
        }
        return {code, fmt::format("{} {}: {}", what, where_, ec.message())};
    }
    Error too_slow() const {
        return {ErrorCode::kLimit, fmt::format("{} is too slow: less than {} bytes in {} s", where_,
                                               limits_.window_bytes, limits_.window_ms / 1000)};
    }

    std::string where_;
    HttpLimits limits_;
    std::unique_ptr<Loop> loop_;
    std::unique_ptr<asio::ssl::context> tls_;
    Stream stream_;
    beast::flat_buffer buffer_{kBufferBytes + kMaxHeadBytes};
    std::optional<http::response_parser<http::buffer_body>> parser_;
    std::optional<Pace> pace_;
};

}  // namespace

Result<std::unique_ptr<Connection>> Connection::open(const Url& url, const TlsOptions& tls,
                                                     const HttpLimits& limits) {
    if (!url.tls) {
        auto plain = std::make_unique<StreamConnection<beast::tcp_stream>>(url, limits, nullptr);
        TRY(plain->connect(url));
        return std::unique_ptr<Connection>(std::move(plain));
    }
    auto context = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_client);
    TRY(set_up_tls(*context, url.authority(), tls));
    asio::ssl::context& shown = *context;
    auto secure = std::make_unique<StreamConnection<beast::ssl_stream<beast::tcp_stream>>>(
        url, limits, std::move(context), shown);
    TRY(secure->connect(url));
    return std::unique_ptr<Connection>(std::move(secure));
}

}  // namespace drupe::imagefs::registry
