#include "api/server/tls_gate.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <thread>

#include "base/log.h"

namespace drupe::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Plain = asio::local::stream_protocol::socket;
using boost::system::error_code;

constexpr size_t kMaxConnections = 1024;
constexpr size_t kBufferBytes = 16 << 10;
constexpr std::chrono::seconds kHandshakeLimit{20};
constexpr std::chrono::seconds kFarewellLimit{5};

/// One client's connection, and the pair of sockets behind it.
class Tunnel : public std::enable_shared_from_this<Tunnel> {
  public:
    Tunnel(tcp::socket socket, asio::ssl::context& context, size_t& count)
        : secure_(std::move(socket), context),
          plain_(secure_.get_executor()),
          timer_(secure_.get_executor()),
          count_(count) {
        ++count_;
    }
    ~Tunnel() { --count_; }
    Tunnel(const Tunnel&) = delete;
    Tunnel& operator=(const Tunnel&) = delete;

    void start(const std::function<void(Fd)>& serve) {
        limit(kHandshakeLimit);
        secure_.async_handshake(asio::ssl::stream_base::server,
                                [self = shared_from_this(), serve](error_code error) {
                                    self->timer_.cancel();
                                    if (!error) self->open(serve);
                                });
    }

  private:
    void limit(std::chrono::seconds time) {
        timer_.expires_after(time);
        timer_.async_wait([self = shared_from_this()](error_code error) {
            if (!error) self->close();
        });
    }
    void open(const std::function<void(Fd)>& serve) {
        auto pair = make_socketpair(SOCK_STREAM);
        if (!pair) return;
        plain_.assign(asio::local::stream_protocol(), pair.value().first.release());
        serve(std::move(pair.value().second));
        read_secure();
        read_plain();
    }
    void read_secure() {
        secure_.async_read_some(asio::buffer(in_),
                                [self = shared_from_this()](error_code error, size_t n) {
                                    if (error) {
                                        error_code ignored;
                                        self->plain_.shutdown(Plain::shutdown_send, ignored);
                                        return;
                                    }
                                    asio::async_write(self->plain_, asio::buffer(self->in_, n),
                                                      [self](error_code failed, size_t) {
                                                          if (!failed) self->read_secure();
                                                      });
                                });
    }
    void read_plain() {
        plain_.async_read_some(asio::buffer(out_),
                               [self = shared_from_this()](error_code error, size_t n) {
                                   if (error) return self->say_goodbye();
                                   asio::async_write(self->secure_, asio::buffer(self->out_, n),
                                                     [self](error_code failed, size_t) {
                                                         if (failed) {
                                                             self->close();
                                                         } else {
                                                             self->read_plain();
                                                         }
                                                     });
                               });
    }
    /// The server has said all: the client has to see that this was the end, and not a cut.
    void say_goodbye() {
        secure_.lowest_layer().cancel();
        limit(kFarewellLimit);
        asio::post(secure_.get_executor(), [self = shared_from_this()] {
            self->secure_.async_shutdown([self](error_code) { self->close(); });
        });
    }
    void close() {
        error_code ignored;
        timer_.cancel();
        secure_.lowest_layer().close(ignored);
        plain_.close(ignored);
    }

    asio::ssl::stream<tcp::socket> secure_;
    Plain plain_;
    asio::steady_timer timer_;
    size_t& count_;
    std::array<char, kBufferBytes> in_{};
    std::array<char, kBufferBytes> out_{};
};

class RealTlsGate final : public TlsGate {
  public:
    explicit RealTlsGate(std::function<void(Fd)> serve)
        : serve_(std::move(serve)), work_(asio::make_work_guard(io_)) {}
    ~RealTlsGate() override {
        io_.stop();
        if (thread_.joinable()) thread_.join();
    }

    Status open(const TlsFiles& files) {
        error_code error;
        const auto refuse = [&](const std::string& file) {
            return Error{ErrorCode::kInvalid, fmt::format("{}: {}", file, error.message())};
        };
        context_.set_options(asio::ssl::context::default_workarounds |
                             asio::ssl::context::no_sslv2 | asio::ssl::context::no_sslv3 |
                             asio::ssl::context::no_tlsv1 | asio::ssl::context::no_tlsv1_1);
        context_.set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert);
        context_.load_verify_file(files.ca, error);
        if (error) return refuse(files.ca);
        context_.use_certificate_chain_file(files.certificate, error);
        if (error) return refuse(files.certificate);
        context_.use_private_key_file(files.key, asio::ssl::context::pem, error);
        if (error) return refuse(files.key);
        thread_ = std::thread([this] { io_.run(); });
        return ok();
    }

    Status listen(Fd socket) override {
        auto acceptor = std::make_shared<tcp::acceptor>(io_);
        sockaddr_storage address{};
        socklen_t size = sizeof address;
        if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) < 0) {
            return os_error("getsockname");
        }
        acceptor->assign(address.ss_family == AF_INET6 ? tcp::v6() : tcp::v4(), socket.release());
        asio::post(io_, [this, acceptor] { accept(acceptor); });
        return ok();
    }

  private:
    void accept(const std::shared_ptr<tcp::acceptor>& acceptor) {
        acceptor->async_accept([this, acceptor](error_code error, tcp::socket socket) {
            if (!acceptor->is_open()) return;
            if (!error && count_ < kMaxConnections) {
                std::make_shared<Tunnel>(std::move(socket), context_, count_)->start(serve_);
            }
            accept(acceptor);
        });
    }

    std::function<void(Fd)> serve_;
    size_t count_ = 0;  // of tunnels, which end before the loop does
    asio::ssl::context context_{asio::ssl::context::tls_server};
    asio::io_context io_;
    asio::executor_work_guard<asio::io_context::executor_type> work_;
    std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<TlsGate>> TlsGate::make(const TlsFiles& files,
                                               std::function<void(Fd)> serve) {
    auto gate = std::make_unique<RealTlsGate>(std::move(serve));
    TRY(gate->open(files));
    return std::unique_ptr<TlsGate>(std::move(gate));
}

}  // namespace drupe::http
