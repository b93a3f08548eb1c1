#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/server/request.h"
#include "base/fd.h"
#include "base/result.h"

namespace drupe::http {

using Headers = std::vector<std::pair<std::string, std::string>>;

/// How long a client may take, and how much it may send.
struct Limits {
    size_t head_bytes = 64 << 10;
    size_t json_bytes = 8 << 20;      ///< Of a body that is kept in memory.
    std::chrono::seconds head{30};    ///< For a request's head, and for the first byte.
    std::chrono::seconds idle{600};   ///< Between two requests of one connection.
    std::chrono::seconds body{120};   ///< Without a byte of a body.
    std::chrono::seconds write{900};  ///< Without a byte of an answer being taken.
    size_t connections = 4096;
};

/// One request and its answer, on a connection of its own for as long as it takes. Reads and writes
/// block, within the limits; a client that breaks one, or hangs up, is an Error. Exactly one of
/// reply(), begin() and hijack() is called. One thread.
class Exchange {
  public:
    virtual ~Exchange() = default;

    [[nodiscard]] virtual const Request& request() const = 0;
    [[nodiscard]] virtual const Limits& limits() const = 0;

    /// The next bytes of the body; 0 at its end.
    [[nodiscard]] virtual Result<size_t> read_body(std::span<std::byte> out) = 0;
    /// The rest of the body; kLimit if it is longer than max_bytes.
    [[nodiscard]] Result<std::string> read_whole_body(size_t max_bytes);

    /// The whole answer. HEAD requests get the headers alone.
    [[nodiscard]] virtual Status reply(unsigned status, std::string_view content_type,
                                       std::string_view body, const Headers& headers = {}) = 0;
    /// The head of an answer whose length isn't known, sent at once.
    [[nodiscard]] virtual Status begin(unsigned status, std::string_view content_type,
                                       const Headers& headers = {}) = 0;
    /// More of it, sent at once.
    [[nodiscard]] virtual Status write(std::string_view data) = 0;
    /// What was begun can't be ended: the connection is cut, so that the client sees that something
    /// is missing.
    virtual void abandon() = 0;
    /// Takes the connection over for a stream of bytes in both directions: 101 if the client asked
    /// for an upgrade, else 200. The descriptor is this object's; early are bytes that the client
    /// has sent already.
    struct Hijacked {
        int fd = -1;
        std::string early;
    };
    [[nodiscard]] virtual Result<Hijacked> hijack(std::string_view content_type) = 0;

    /// Whether begin(), reply() or hijack() was called.
    [[nodiscard]] virtual bool answered() const = 0;
    /// For poll(): POLLRDHUP and POLLHUP say that the client has gone.
    [[nodiscard]] virtual int client_fd() const = 0;
};

}  // namespace drupe::http
