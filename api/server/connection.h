#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "api/server/exchange.h"
#include "base/fd.h"

namespace drupe::http {

class ConnectionExchange;

/// One client's connection: the parsing of requests (Beast's) and the bytes that came too early.
/// Used by one thread at a time.
class Connection {
  public:
    /// The socket is made non-blocking.
    Connection(Fd socket, const Limits& limits);
    ~Connection();
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    [[nodiscard]] int fd() const { return socket_.get(); }
    void close() { socket_.reset(); }

    enum class Head : uint8_t { kIncomplete, kComplete, kClosed };
    /// Takes what has come. kClosed: the client hung up, or sent what is no request (it was told).
    [[nodiscard]] Head read_head();
    /// Bytes of a request have come.
    [[nodiscard]] bool head_begun() const;

    /// After kComplete. Null: it was no request for us, and the client was told.
    [[nodiscard]] std::unique_ptr<Exchange> begin_exchange(const Headers& headers);
    /// Ends an answer; whether the next request may come.
    [[nodiscard]] bool end_exchange(Exchange& exchange);

    /// A short answer, if the socket takes it at once.
    void refuse(unsigned status, std::string_view message);

  private:
    friend class ConnectionExchange;
    struct Parsing;

    Fd socket_;
    Limits limits_;
    std::unique_ptr<Parsing> parsing_;
};

}  // namespace drupe::http
