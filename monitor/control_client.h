#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "monitor/control.h"

namespace drupe {

/// A blocking client of one monitor. Used by one thread.
class ControlClient {
  public:
    /// What a monitor that stands still (SIGSTOP) may take to accept a connection or a request.
    static constexpr std::chrono::milliseconds kSendTimeout{10'000};

    /// monitor: what errors call it. kNotFound if nobody listens (the monitor has ended or never
    /// came); kLimit if it accepts nobody.
    [[nodiscard]] static Result<ControlClient> connect(
        const std::string& socket_path, std::string monitor = "the monitor",
        std::chrono::milliseconds send_timeout = kSendTimeout);
    /// Over a connected SOCK_SEQPACKET socket, which gets a time limit for what is sent.
    explicit ControlClient(Fd socket, std::string monitor = "the monitor",
                           std::chrono::milliseconds send_timeout = kSendTimeout);

    /// For poll(): readable when a reply may be there.
    [[nodiscard]] int fd() const { return socket_.get(); }

    /// Sends a request and returns the id its reply will carry. Doesn't wait for that. kNotFound:
    /// the monitor has hung up; kLimit: it takes no more requests.
    [[nodiscard]] Result<uint64_t> send(control::Request request);
    /// Waits for the reply with this id; others that come meanwhile are kept. kLimit when the time
    /// is over; kNotFound if the monitor hung up.
    [[nodiscard]] Result<control::Reply> receive(
        uint64_t id, std::optional<std::chrono::milliseconds> timeout = std::nullopt);
    /// send and receive.
    [[nodiscard]] Result<control::Reply> exchange(
        control::Request request, std::optional<std::chrono::milliseconds> timeout = std::nullopt);
    /// The same; a reply that reports an error is an Error.
    [[nodiscard]] Result<control::Reply> call(
        control::Request request, std::optional<std::chrono::milliseconds> timeout = std::nullopt);

  private:
    [[nodiscard]] Error hung_up() const;
    [[nodiscard]] Error explain(const Error& error) const;

    Fd socket_;
    std::string monitor_;
    uint64_t next_id_ = 1;
    std::map<uint64_t, control::Reply> replies_;
};

}  // namespace drupe
