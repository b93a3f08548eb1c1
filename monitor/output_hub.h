#pragma once

#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <span>
#include <string>

#include "base/event_loop.h"
#include "base/fd.h"
#include "guest-init/protocol.h"
#include "monitor/json_log.h"

namespace drupe {

/// One output stream of a session on its way out: to the log, if there is one, and to every client
/// that is attached. A client that reads slowly slows the stream down; nothing is dropped and no
/// buffer grows past one chunk a client. Runs on the loop's thread.
class OutputHub {
  public:
    /// log may be null. on_room: a refused offer() may be repeated. Both outlive the hub.
    OutputHub(EventLoop& loop, protocol::Stream stream, JsonLog* log,
              std::function<void()> on_room);

    /// Adds a reader of everything from now on: a pipe or a socket (kInvalid otherwise), made
    /// non-blocking. One that hangs up is forgotten.
    [[nodiscard]] Status attach(Fd fd);

    /// Takes all of the bytes, at most protocol::kMaxStreamData, and returns true; or none, while a
    /// client still has some of the last ones to take.
    [[nodiscard]] bool offer(std::string_view bytes);

    /// No more bytes come: finishes the log's line, closes the clients' descriptors as they drain,
    /// then on_drained.
    void end(std::function<void()> on_drained);

    static constexpr size_t kMaxClients = 16;

  private:
    struct Client {
        Fd fd;
        std::string pending;
        EventLoop::Watch watch;
    };
    using Clients = std::list<Client>;

    void send(Clients::iterator client, std::string_view bytes);
    void on_writable(Clients::iterator client);
    void drop(Clients::iterator client);
    void after_progress();
    [[nodiscard]] bool has_pending() const;

    EventLoop& loop_;
    protocol::Stream stream_;
    JsonLog* log_;
    std::function<void()> on_room_;
    std::function<void()> on_drained_;
    Clients clients_;
    bool ended_ = false;
};

/// A descriptor that a client handed over for a stream: a pipe or a socket, made non-blocking; else
/// kInvalid.
[[nodiscard]] Status prepare_stream_fd(int fd);

}  // namespace drupe
