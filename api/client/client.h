#pragma once

#include <memory>
#include <string>

#include "api/client/message.h"
#include "base/fd.h"

namespace drupe::client {

/// What a daemon, even one that was taken over, may have a client keep in memory.
struct Limits {
    size_t head_bytes = 64 << 10;
    size_t body_bytes = 64 << 20;  ///< Of an answer that is wanted as a whole.
    size_t error_bytes = 64 << 10;
};

/// A connection that was taken over: after it there is no HTTP any more.
struct Hijacked {
    Head head;
    Fd socket;
    std::string early;  ///< What came right behind the head, before anything that socket gives.
};

/// A client of the Docker Engine API on a Unix socket: HTTP/1.1, blocking, one request at a time.
/// The connection is made when it is first needed and serves further requests until the daemon
/// closes it. Not for several threads at once. A GET or
/// HEAD whose kept connection was closed is sent once more, nothing else is. A write to a daemon
/// that is gone is an error, never SIGPIPE.
///
/// Every call fails with kIo (nobody listens: with os_errno ECONNREFUSED or ENOENT), kCorrupt (no
/// HTTP, or an answer that ends too early), kLimit (Limits), or, for an answer with a status from
/// 300 on but 304 (it is so already), with error_of() it.
class Client {
  public:
    explicit Client(std::string socket_path, const Limits& limits = {});
    ~Client();
    Client(Client&&) noexcept;
    Client& operator=(Client&&) noexcept;
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    /// Of the same daemon: another connection, made when it is needed.
    [[nodiscard]] Client another() const;
    /// Connects now, if it isn't connected.
    [[nodiscard]] Status connect();

    /// The whole answer.
    [[nodiscard]] Result<Response> request(const Request& request);
    /// An answer that may be long, or have no end: each piece goes to the sink as it comes.
    [[nodiscard]] Result<Head> stream(const Request& request, const BodySink& sink);
    /// Sends and gets the head alone: begin(), then read() until it says 0. For an answer that is
    /// waited for while something else is done: socket() is readable when there is more.
    [[nodiscard]] Result<Head> begin(const Request& request);
    [[nodiscard]] Result<size_t> read(std::span<std::byte> out);
    /// -1: not connected.
    [[nodiscard]] int socket() const;
    /// Asks the daemon for the raw connection (101). This client connects anew for what follows.
    [[nodiscard]] Result<Hijacked> hijack(Request request);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// Puts a stream of lines together again: one JSON document a line, as pull, push, load and events
/// send them. Lines longer than max_bytes are kLimit.
class LineReader {
  public:
    using Sink = std::function<Status(std::string_view line)>;
    explicit LineReader(Sink sink, size_t max_bytes = 1 << 20)
        : sink_(std::move(sink)), max_bytes_(max_bytes) {}
    [[nodiscard]] Status push(std::string_view bytes);
    /// What is left without an end of line is a line, too.
    [[nodiscard]] Status finish();

  private:
    Sink sink_;
    size_t max_bytes_;
    std::string partial_;
};

}  // namespace drupe::client
