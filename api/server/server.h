#pragma once

#include <functional>
#include <memory>

#include "api/server/exchange.h"
#include "base/fd.h"
#include "base/result.h"

namespace drupe::http {

/// Answers one request. Called on a thread of its own; may block.
using Handler = std::function<void(Exchange&)>;

/// An HTTP/1.1 server on any stream sockets. Connections wait for their next request on one thread
/// (Asio), so that idle and slow ones cost a descriptor each; a request that has come gets a thread
/// until it is answered.
class Server {
  public:
    struct Options {
        Limits limits;
        Headers headers;  ///< Of every answer.
    };
    [[nodiscard]] static Result<std::unique_ptr<Server>> make(Options options, Handler handler);
    virtual ~Server() = default;

    /// Accepts from a listening socket from now on. Before run().
    [[nodiscard]] virtual Status listen(Fd socket) = 0;
    /// Takes over a connected stream socket. Any thread.
    virtual void serve(Fd connection) = 0;

    /// Serves until stop(), then gives requests that are being answered `grace` to end.
    virtual void run() = 0;
    /// Any thread, and signal handlers' loops.
    virtual void stop() = 0;
};

}  // namespace drupe::http
