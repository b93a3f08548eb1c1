#include "monitor/session.h"

#include <utility>

#include "base/log.h"

namespace drupe {

/// Ties an output stream of the guest to the hub that hands it out.
class Session::Output final : public agent::OutputSink {
  public:
    Output(Session& session, protocol::Stream stream, JsonLog* log)
        : session_(session), stream_(stream), hub_(session.loop_, stream, log, [this] {
              if (source_ != nullptr) source_->resume();
          }) {}

    [[nodiscard]] Status open(uint64_t offset) {
        TRY_ASSIGN(source_, session_.agent_.open_output(session_.id(), stream_, offset, *this));
        return ok();
    }
    [[nodiscard]] uint64_t offset() const { return source_ != nullptr ? source_->offset() : 0; }
    [[nodiscard]] Status attach(Fd fd) { return fd.valid() ? hub_.attach(std::move(fd)) : ok(); }
    [[nodiscard]] bool drained() const { return drained_; }

    size_t take(std::string_view bytes) override {
        const std::string_view chunk = bytes.substr(0, protocol::kMaxStreamData);
        return hub_.offer(chunk) ? chunk.size() : 0;
    }
    void end(Status status) override {
        if (!status)
            log(LogLevel::kWarn, "output of session {}: {}", session_.id(), status.error().message);
        hub_.end([this] {
            drained_ = true;
            session_.check_done();
        });
    }

  private:
    Session& session_;
    protocol::Stream stream_;
    bool drained_ = false;
    std::unique_ptr<agent::OutputStream> source_;
    OutputHub hub_;
};

Session::Session(EventLoop& loop, agent::AgentSession& agent, const Options& options)
    : loop_(loop), agent_(agent), options_(options) {
    stdout_ = std::make_unique<Output>(*this, protocol::Stream::kStdout, options.log);
    if (!options.tty)
        stderr_ = std::make_unique<Output>(*this, protocol::Stream::kStderr, options.log);
    if (options.stdin_open) stdin_ = std::make_unique<InputPump>(loop);
}

Session::~Session() = default;

Status Session::attach(control::Stdio stdio) {
    // Outputs first: a client that is refused must not have been the input's, whose end would then
    // be the program's.
    TRY(stdout_->attach(std::move(stdio.stdout_fd)));
    if (stderr_ != nullptr) {
        TRY(stderr_->attach(std::move(stdio.stderr_fd)));
    }
    if (!stdio.stdin_fd.valid() || stdin_ == nullptr) return ok();
    return stdin_->attach(std::move(stdio.stdin_fd), options_.stdin_once);
}

Session::Offsets Session::offsets() const {
    return {stdout_->offset(), stderr_ != nullptr ? stderr_->offset() : 0};
}

Status Session::open(Offsets from) {
    TRY(stdout_->open(from.out));
    if (stderr_ != nullptr) {
        TRY(stderr_->open(from.err));
    }
    if (stdin_ == nullptr) return ok();
    agent::InputEvents events;
    events.on_room = [this] { stdin_->on_room(); };
    events.on_end = [this](const Status&) { stdin_->stop(); };  // the program closed it, or is gone
    TRY_ASSIGN(auto stream, agent_.open_input(id(), std::move(events)));
    stdin_->open(std::move(stream));
    return ok();
}

void Session::exited(const protocol::Exited& exit) {
    if (exit_) return;
    exit_ = control::ExitStatus{exit.status, exit.signal, exit.oom_killed};
    check_done();
}

void Session::when_done(std::function<void(const control::ExitStatus&)> callback) {
    if (done_) return callback(*exit_);
    waiters_.push_back(std::move(callback));
}

void Session::check_done() {
    const bool drained = stdout_->drained() && (stderr_ == nullptr || stderr_->drained());
    if (done_ || !exit_ || !drained) return;
    done_ = true;
    if (stdin_ != nullptr) stdin_->stop();
    for (const auto& waiter : std::exchange(waiters_, {})) waiter(*exit_);
}

}  // namespace drupe
