// What a guest may send to the monitor. The first byte says how far the guest behaves (Hello,
// StreamOpened); then come chunks: a connection, a length, and bytes for it. Orders and streams are
// open, so that answers and frames have something to hit.

#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "monitor/agent/agent_session.h"

namespace drupe::agent {
namespace {

class Sink final : public OutputSink {
  public:
    size_t take(std::string_view bytes) override { return bytes.size() > 100 ? 100 : bytes.size(); }
    void end(Status /*status*/) override {}
};

class Machine {
  public:
    Machine() : loop_(make_event_loop()) {
        FdPair pair = make_socketpair(SOCK_STREAM).value();
        control_ = std::move(pair.second);
        AgentEvents events;
        events.on_hello = [this](const protocol::Hello& /*hello*/) { on_hello(); };
        agent_ = make_agent_session(
            *loop_, [this](uint32_t /*port*/) { return connect(); }, std::move(events));
        DRUPE_CHECK(static_cast<bool>(agent_->attach(std::move(pair.first))));
        open_streams();
    }
    ~Machine() {
        outputs_.clear();
        input_.reset();
    }

    /// Sends input chunk by chunk, each in an iteration of the loop of its own.
    void run(std::string_view input) {
        rest_ = input;
        const uint8_t manners = take_byte();
        if ((manners & 1) != 0)
            send(control_.get(),
                 protocol::frame(protocol::Kind::kHello, 0,
                                 protocol::Hello{.cpus = 1, .kernel_release = "6"}));
        behaved_streams_ = (manners & 2) != 0;
        schedule();
        loop_->run();
    }

  private:
    static void send(int fd, std::string_view bytes) {
        (void)::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    uint8_t take_byte() {
        if (rest_.empty()) return 0;
        const auto byte = static_cast<uint8_t>(rest_[0]);
        rest_.remove_prefix(1);
        return byte;
    }
    void schedule() {
        step_ = loop_->after(std::chrono::nanoseconds(0), [this] { step(); });
    }
    void step() {
        for (auto& output : outputs_) output->resume();
        if (rest_.empty() && ++idle_ > 3) return loop_->stop();
        const size_t n = take_byte() % (1 + streams_.size());
        const size_t length = take_byte();
        const std::string_view bytes = rest_.substr(0, length);
        send(n == 0 ? control_.get() : streams_[n - 1].get(), bytes);
        rest_.remove_prefix(bytes.size());
        schedule();
    }
    Result<Fd> connect() {
        if (streams_.size() > 8) return Error{ErrorCode::kLimit, "enough"};
        TRY_ASSIGN(FdPair pair, make_socketpair(SOCK_STREAM));
        if (behaved_streams_) send(pair.second.get(), protocol::encode(protocol::StreamOpened{}));
        streams_.push_back(std::move(pair.second));
        return std::move(pair.first);
    }
    void on_hello() {
        protocol::Start start;
        start.argv = {"x"};
        for (uint32_t session = 1; session < 4; ++session) {
            start.session = session;
            (void)agent_->order(start, std::chrono::seconds(1), [](const Status& /*status*/) {});
        }
        (void)agent_->order(protocol::Forget{.session = 2}, std::chrono::seconds(1),
                            [](const Status& /*status*/) {});
    }
    void open_streams() {
        for (const auto stream : {protocol::Stream::kStdout, protocol::Stream::kStderr}) {
            auto output = agent_->open_output(1, stream, 0, sink_);
            if (output) outputs_.push_back(std::move(output).value());
        }
        auto input = agent_->open_input(1, {});
        if (!input) return;
        input_ = std::move(input).value();
        DRUPE_CHECK(input_->write("some input") == 10);
        input_->close();
    }

    std::unique_ptr<EventLoop> loop_;
    Sink sink_;
    Fd control_;
    std::vector<Fd> streams_;
    std::unique_ptr<AgentSession> agent_;
    std::vector<std::unique_ptr<OutputStream>> outputs_;
    std::unique_ptr<InputStream> input_;
    EventLoop::Watch step_;
    std::string_view rest_;
    bool behaved_streams_ = false;
    int idle_ = 0;
};

}  // namespace
}  // namespace drupe::agent

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    drupe::agent::Machine machine;
    machine.run({reinterpret_cast<const char*>(data), size});
    return 0;
}
