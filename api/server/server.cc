#include "api/server/server.h"

#include <sys/socket.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <thread>

#include "api/server/connection.h"
#include "api/server/threads.h"
#include "base/log.h"

namespace drupe::http {
namespace {

namespace asio = boost::asio;
using Descriptor = asio::posix::stream_descriptor;

constexpr std::chrono::milliseconds kAcceptPause{100};  // when descriptors have run out
constexpr std::chrono::seconds kGrace{2};
constexpr size_t kAcceptsAtOnce = 64;

class RealServer final : public Server {
  public:
    RealServer(Options options, Handler handler)
        : options_(std::move(options)),
          handler_(std::move(handler)),
          threads_(options_.limits.connections) {}

    Status listen(Fd socket) override {
        TRY(set_nonblocking(socket.get(), true));
        listeners_.push_back(std::make_unique<Listener>(io_, std::move(socket)));
        accept(*listeners_.back());
        return ok();
    }

    void serve(Fd connection) override {
        if (connections_.fetch_add(1) >= options_.limits.connections) {
            --connections_;
            return refuse(std::move(connection));
        }
        auto shared = std::make_shared<Connection>(std::move(connection), options_.limits);
        asio::post(io_, [this, shared] { await_request(shared, options_.limits.head); });
    }

    void run() override {
        const auto work = asio::make_work_guard(io_);
        io_.run();
        const auto until = std::chrono::steady_clock::now() + kGrace;
        while (threads_.busy() > 0 && std::chrono::steady_clock::now() < until) {
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
    }

    void stop() override { io_.stop(); }

  private:
    struct Listener {
        Listener(asio::io_context& io, Fd socket) : descriptor(io, socket.release()), pause(io) {}
        Descriptor descriptor;
        asio::steady_timer pause;
    };
    /// A connection between two requests.
    struct Waiting {
        Waiting(asio::io_context& io, std::shared_ptr<Connection> which)
            : connection(std::move(which)), descriptor(io, connection->fd()), timer(io) {}
        ~Waiting() { descriptor.release(); }
        Waiting(const Waiting&) = delete;
        Waiting& operator=(const Waiting&) = delete;

        std::shared_ptr<Connection> connection;
        Descriptor descriptor;
        asio::steady_timer timer;
        bool begun = false;
        bool over = false;  ///< Too late: closed.
    };

    void accept(Listener& listener) {
        listener.descriptor.async_wait(Descriptor::wait_read, [this, &listener](auto error) {
            if (error) return;
            for (size_t i = 0; i < kAcceptsAtOnce; ++i) {
                Fd client(::accept4(listener.descriptor.native_handle(), nullptr, nullptr,
                                    SOCK_CLOEXEC | SOCK_NONBLOCK));
                if (client.valid()) {
                    serve(std::move(client));
                    continue;
                }
                if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) break;
                log(LogLevel::kWarn, "accept: {}", os_error("accept").message);
                listener.pause.expires_after(kAcceptPause);
                listener.pause.async_wait([this, &listener](auto) { accept(listener); });
                return;
            }
            accept(listener);
        });
    }

    /// One too many is told so and closed. What it has sent is taken first: closed with that
    /// unread, its client would see a reset.
    void refuse(Fd socket) {
        Connection connection(std::move(socket), options_.limits);
        if (connection.read_head() == Connection::Head::kClosed) return;
        connection.refuse(503, "too many connections are open: try again");
    }

    void await_request(const std::shared_ptr<Connection>& connection, std::chrono::seconds limit) {
        auto waiting = std::make_shared<Waiting>(io_, connection);
        set_timer(waiting, limit);
        on_bytes(waiting);  // the next request may be here already
    }

    void set_timer(const std::shared_ptr<Waiting>& waiting, std::chrono::seconds limit) {
        waiting->timer.expires_after(limit);
        waiting->timer.async_wait([weak = std::weak_ptr(waiting)](auto error) {
            const auto held = weak.lock();
            if (error || !held) return;
            held->over = true;
            held->descriptor.cancel();
        });
    }

    void on_bytes(const std::shared_ptr<Waiting>& waiting) {
        const auto state = waiting->connection->read_head();
        if (state == Connection::Head::kComplete) return dispatch(waiting);
        if (state == Connection::Head::kClosed) return close(waiting);
        if (!waiting->begun && waiting->connection->head_begun()) {
            waiting->begun = true;
            set_timer(waiting, options_.limits.head);
        }
        waiting->descriptor.async_wait(Descriptor::wait_read, [this, waiting](auto error) {
            if (error || waiting->over) return close(waiting);
            on_bytes(waiting);
        });
    }

    void close(const std::shared_ptr<Waiting>& waiting) {
        waiting->timer.cancel();
        waiting->descriptor.release();
        waiting->connection->close();
        --connections_;
    }

    void dispatch(const std::shared_ptr<Waiting>& waiting) {
        waiting->timer.cancel();
        waiting->descriptor.release();
        auto connection = waiting->connection;
        const bool begun = threads_.run([this, connection] {
            const bool again = answer(*connection);
            if (again) {
                asio::post(io_,
                           [this, connection] { await_request(connection, options_.limits.idle); });
            } else {
                connection->close();
                --connections_;
            }
        });
        if (begun) return;
        connection->refuse(503, "too many requests are being answered: try again");
        connection->close();
        --connections_;
    }

    /// Whether the connection can carry another request.
    bool answer(Connection& connection) {
        auto exchange = connection.begin_exchange(options_.headers);
        if (!exchange) return false;
        try {
            handler_(*exchange);
        } catch (const std::exception& exception) {
            log(LogLevel::kError, "a request failed: {}", exception.what());
            if (!exchange->answered()) {
                static_cast<void>(
                    exchange->reply(500, "application/json", "{\"message\":\"internal error\"}\n"));
            }
        }
        return connection.end_exchange(*exchange);
    }

    Options options_;
    Handler handler_;
    asio::io_context io_;
    std::vector<std::unique_ptr<Listener>> listeners_;
    std::atomic<size_t> connections_ = 0;
    Threads threads_;
};

}  // namespace

Result<std::unique_ptr<Server>> Server::make(Options options, Handler handler) {
    return std::unique_ptr<Server>(
        std::make_unique<RealServer>(std::move(options), std::move(handler)));
}

}  // namespace drupe::http
