#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "imagefs/registry/headers.h"

namespace drupe::imagefs::registry::testing {

struct SeenRequest {
    std::string method;
    std::string target;
    Headers headers;
    std::string body;
};

/// What a server says, and how badly.
struct Reply {
    unsigned status = 200;
    Headers headers{};
    std::string body{};
    std::optional<std::string> claimed_length{};  ///< Instead of the body's Content-Length.
    std::optional<size_t> cut_after{};            ///< Hangs up after so many bytes of the body.
    bool endless = false;                         ///< The body, chunked, again and again.
    uint32_t drip_ms = 0;                         ///< A byte of the body, then so long a pause.
    std::optional<std::string> raw{};             ///< Instead of all that, and then hangs up.

    Reply& with(std::string name, std::string value) {
        headers.add(std::move(name), std::move(value));
        return *this;
    }
};

/// An HTTP/1.1 server on a port of 127.0.0.1 that says what a test wants. The handler is called by
/// one thread at a time.
class FakeServer {
  public:
    using Handler = std::function<Reply(const SeenRequest&)>;
    explicit FakeServer(Handler handler);
    ~FakeServer();
    FakeServer(const FakeServer&) = delete;
    FakeServer& operator=(const FakeServer&) = delete;

    /// "127.0.0.1:PORT"; another name for the same place is "localhost:PORT".
    [[nodiscard]] std::string host() const;
    [[nodiscard]] std::string alias() const;
    [[nodiscard]] std::vector<SeenRequest> seen();
    [[nodiscard]] size_t connections() const { return connections_; }

  private:
    void accept_all();
    void serve(Fd connection);

    Handler handler_;
    Fd listener_;
    uint16_t port_ = 0;
    std::atomic<bool> stop_ = false;
    std::atomic<size_t> connections_ = 0;
    std::mutex mutex_;
    std::vector<SeenRequest> seen_;
    std::vector<std::thread> threads_;
    std::thread acceptor_;
};

}  // namespace drupe::imagefs::registry::testing
