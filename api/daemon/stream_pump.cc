#include "api/daemon/stream_pump.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "api/engine/detach_keys.h"

namespace drupe::daemon {
namespace {

constexpr size_t kChunk = 32 << 10;

/// Bytes on their way to a descriptor.
class Outgoing {
  public:
    [[nodiscard]] bool empty() const { return at_ == bytes_.size(); }
    void add(std::string_view bytes) {
        if (empty()) {
            bytes_.clear();
            at_ = 0;
        }
        bytes_ += bytes;
    }
    /// False: nobody takes them any more.
    template <class Write>
    bool send(Write write) {
        while (!empty()) {
            const ssize_t n = write(bytes_.data() + at_, bytes_.size() - at_);
            if (n >= 0) {
                at_ += static_cast<size_t>(n);
            } else if (errno == EAGAIN) {
                return true;
            } else if (errno != EINTR) {
                return false;
            }
        }
        return true;
    }

  private:
    std::string bytes_;
    size_t at_ = 0;
};

class Pump {
  public:
    explicit Pump(StreamPump& streams) : s_(streams), keys_(streams.detach_keys) {
        typed(s_.early);
        s_.early.clear();
        has_outputs_ = s_.from_stdout.valid() || s_.from_stderr.valid();
    }

    StreamPump::End run() {
        for (;;) {
            if (keys_.matched()) return StreamPump::End::kDetached;
            const bool outputs = s_.from_stdout.valid() || s_.from_stderr.valid();
            if (to_client_.empty() && !outputs && (has_outputs_ || !s_.to_stdin.valid())) {
                return StreamPump::End::kOutputEnded;
            }
            if (client_ended_ && to_stdin_.empty()) s_.to_stdin.reset();
            if (!await()) return StreamPump::End::kClientGone;
        }
    }

  private:
    /// Waits, and moves what can be moved; false: the client has gone.
    bool await() {
        const bool reads_client = !client_ended_ && to_stdin_.empty();
        const bool reads_output = to_client_.empty();
        std::array<pollfd, 4> polls{{
            {s_.client,
             static_cast<short>((reads_client ? POLLIN : 0) | (to_client_.empty() ? 0 : POLLOUT)),
             0},
            {s_.to_stdin.get(), static_cast<short>(to_stdin_.empty() ? 0 : POLLOUT), 0},
            {reads_output ? s_.from_stdout.get() : -1, POLLIN, 0},
            {reads_output ? s_.from_stderr.get() : -1, POLLIN, 0},
        }};
        if (::poll(polls.data(), polls.size(), -1) < 0) return errno == EINTR;
        if ((polls[0].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0 &&
            (polls[0].revents & POLLIN) == 0) {
            return false;
        }
        if (polls[0].revents != 0 && reads_client && !read_client()) return false;
        if ((polls[1].revents & POLLERR) != 0) {
            s_.to_stdin.reset();  // its reader has gone: the rest is dropped
            to_stdin_ = Outgoing();
        } else if (polls[1].revents != 0) {
            write_stdin();
        }
        if (polls[2].revents != 0) read_output(s_.from_stdout, 1);
        if (polls[3].revents != 0) read_output(s_.from_stderr, 2);
        return to_client_.send([&](const char* data, size_t size) {
            return ::send(s_.client, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        });
    }

    bool read_client() {
        std::array<char, kChunk> buffer{};
        const ssize_t n = ::recv(s_.client, buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (n < 0) return errno == EAGAIN || errno == EINTR;
        if (n == 0) {
            client_ended_ = true;
        } else {
            typed({buffer.data(), static_cast<size_t>(n)});
            write_stdin();
        }
        return true;
    }

    void typed(std::string_view bytes) {
        const std::string passed = keys_.pass(bytes);
        if (s_.to_stdin.valid()) to_stdin_.add(passed);
    }

    void write_stdin() {
        const bool taken = to_stdin_.send(
            [&](const char* data, size_t size) { return ::write(s_.to_stdin.get(), data, size); });
        if (taken) return;
        s_.to_stdin.reset();
        to_stdin_ = Outgoing();
    }

    void read_output(Fd& from, unsigned stream) {
        std::array<char, kChunk> buffer{};
        const ssize_t n = ::read(from.get(), buffer.data(), buffer.size());
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (n <= 0) {
            from.reset();
            return;
        }
        const auto size = static_cast<size_t>(n);
        if (s_.framed) to_client_.add(frame_head(stream, size));
        to_client_.add({buffer.data(), size});
    }

    StreamPump& s_;
    engine::DetachKeys keys_;
    Outgoing to_client_;
    Outgoing to_stdin_;
    bool client_ended_ = false;
    bool has_outputs_ = false;
};

Status make_output(Fd& ours, Fd& theirs) {
    TRY_ASSIGN(FdPair pipe, make_pipe());
    TRY(set_nonblocking(pipe.first.get(), true));
    ours = std::move(pipe.first);
    theirs = std::move(pipe.second);
    return ok();
}

}  // namespace

StreamPump::End StreamPump::run() {
    return Pump(*this).run();
}

Result<StreamPipes> make_stream_pipes(bool with_stdin, bool with_stdout, bool with_stderr) {
    StreamPipes made;
    if (with_stdin) {
        TRY_ASSIGN(FdPair pipe, make_pipe());
        TRY(set_nonblocking(pipe.second.get(), true));
        made.theirs.stdin_fd = std::move(pipe.first);
        made.pump.to_stdin = std::move(pipe.second);
    }
    if (with_stdout) {
        TRY(make_output(made.pump.from_stdout, made.theirs.stdout_fd));
    }
    if (with_stderr) {
        TRY(make_output(made.pump.from_stderr, made.theirs.stderr_fd));
    }
    return made;
}

std::string frame_head(unsigned stream, size_t bytes) {
    std::string head(8, '\0');
    head[0] = static_cast<char>(stream);
    for (int i = 0; i < 4; ++i) head[4 + i] = static_cast<char>(bytes >> (24 - 8 * i));
    return head;
}

}  // namespace drupe::daemon
