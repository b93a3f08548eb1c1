#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <deque>
#include <mutex>
#include <thread>

#include "monitor/container.h"

namespace drupe::testing {

using namespace protocol;  // NOLINT: the test speaks it in every line

/// The guest's end, on a thread of its own, with blocking sockets.
class FakeGuest {
  public:
    explicit FakeGuest(Fd control) : control_(std::move(control)) {}

    template <class T>
    void send(Kind kind, uint32_t id, const T& value) {
        const std::string bytes = frame(kind, id, value);
        (void)!::write(control_.get(), bytes.data(), bytes.size());
    }
    void hello() {
        Hello hello;
        hello.kernel_release = "6.12-test";
        send(Kind::kHello, 0, hello);
        (void)next();  // Welcome
    }
    /// The next order; kind 0 at the end of the connection.
    FrameHeader next() {
        for (;;) {
            const Parsed parsed = parse_frame(received_, kMaxOrderBytes);
            if (parsed.state == Parsed::State::kFrame) {
                const FrameHeader header = parsed.header;
                received_.erase(0, parsed.size);
                return header;
            }
            char buffer[4096];
            const ssize_t n = ::read(control_.get(), buffer, sizeof buffer);
            if (n <= 0) return {};
            received_.append(buffer, static_cast<size_t>(n));
        }
    }
    /// Answers the next order; the errno value of failures is the guest's word.
    void answer(Kind expected, int error = 0, const std::string& message = "") {
        const FrameHeader order = next();
        EXPECT_EQ(order.kind, expected);
        send(Kind::kAnswer, order.id, Answer{error, message});
    }
    void start_workload() {
        hello();
        answer(Kind::kRoot);
        answer(Kind::kIdentity);
        answer(Kind::kStart);
    }

  private:
    Fd control_;
    std::string received_;
};

/// Serves one output stream: the bytes, then Eof; reads whatever the host sends.
inline void serve_stream(Fd socket, const std::string& output) {
    std::string request(kStreamOpenBytes, '\0');
    if (::recv(socket.get(), request.data(), request.size(), MSG_WAITALL) <= 0) return;
    std::string bytes = encode(StreamOpened{});
    if (!output.empty() && static_cast<Stream>(request[4]) == Stream::kStdout)
        append_data(bytes, output);
    append_eof(bytes);
    (void)!::write(socket.get(), bytes.data(), bytes.size());
    char rest[256];
    while (::read(socket.get(), rest, sizeof rest) > 0) {
    }
}

class FakeHost final : public ContainerHost {
  public:
    ~FakeHost() override {
        for (std::thread& thread : threads_) thread.join();
    }
    Result<Fd> connect_guest(uint32_t port) override {
        EXPECT_EQ(port, kStreamPort);
        TRY_ASSIGN(FdPair pair, make_socketpair(SOCK_STREAM));
        TRY(set_nonblocking(pair.first.get(), true));
        threads_.emplace_back([socket = std::make_shared<Fd>(std::move(pair.second)), this] {
            serve_stream(std::move(*socket), output);
        });
        return std::move(pair.first);
    }
    Result<uint64_t> attach_root_disk() override {
        ++disks_attached;
        return uint64_t{4096};
    }
    void release_root_disk(std::function<void(const Status&)> done) override {
        disk_calls += "release ";
        done(release_result);
    }
    void replace_root_disk(control::Disk disk, std::function<void(const Status&)> done) override {
        disk_calls += "replace " + std::to_string(disk.layers.size()) + " ";
        done(ok());
    }
    void pause(std::function<void(const Status&)> done) override {
        vcpu_calls += "pause ";
        done(ok());
    }
    Status resume() override {
        vcpu_calls += "resume ";
        return ok();
    }
    void save(control::Snapshot files, std::string state, SaveSteps steps) override {
        EXPECT_TRUE(files.state.valid() && files.memory.valid());
        saved_state = std::move(state);
        vcpu_calls += "save ";
        steps.on_captured(save_result);
        if (!save_result) return;
        on_written = std::move(steps.on_written);
        if (!writes_on) on_written(ok());
    }
    void write_now() override { vcpu_calls += "write "; }
    void rest_when_idle() override { ++may_rest; }
    const std::string& container_state() const override { return restored_state; }
    std::map<std::string, uint64_t> statistics() const override { return {{"exits", 7}}; }
    uint64_t free_page_reports() const override {
        if (reports_left > 0) --reports_left;
        return reports_left;
    }
    uint64_t guest_faults() const override { return 2; }
    std::string last_fault() const override { return ""; }
    bool disk_waits_for_room() const override { return true; }

    std::string output;
    int disks_attached = 0;
    int may_rest = 0;
    std::string disk_calls;
    std::string vcpu_calls;
    Status release_result = ok();
    Status save_result = ok();
    std::string saved_state;
    std::string restored_state;
    mutable uint64_t reports_left = 0;              ///< One each time that one asks.
    std::function<void(const Status&)> on_written;  ///< Of a captured machine.
    bool writes_on = false;                         ///< The test calls it.

  private:
    std::vector<std::thread> threads_;
};

class ContainerTest : public ::testing::Test {
  protected:
    ContainerTest() {
        std::signal(SIGPIPE, SIG_IGN);
        config_.workload.argv = {"program"};
        log_ = std::move(open_file("/tmp", O_TMPFILE | O_RDWR, 0600)).value();
        config_.timing = true;
    }

    /// Runs a container against a guest that follows the script; returns how it ended.
    ExitRecord run(std::function<void(FakeGuest&)> script) {
        FdPair control = std::move(make_socketpair(SOCK_STREAM)).value();
        EXPECT_TRUE(set_nonblocking(control.first.get(), true));
        config_.log.fds = {
            std::move(log_.duplicate()).value().release()};  // the container's to close
        ExitRecord result;
        container_.emplace(*loop_, config_, host_, timeline_, [&](ExitRecord record) {
            result = std::move(record);
            loop_->stop();
        });
        control::Request started;
        started.op = control::Op::kStarted;
        started_.reset();
        container_->handle(std::move(started),
                           [this](const control::Reply& reply) { started_ = reply.error; });
        EXPECT_TRUE(container_->attach_agent(std::move(control.first)));
        std::thread guest([&, socket = std::make_shared<Fd>(std::move(control.second))] {
            FakeGuest fake(std::move(*socket));
            script(fake);
        });
        const auto limit = loop_->after(std::chrono::seconds(30), [&] { loop_->stop(); });
        loop_->run();
        container_.reset();
        guest.join();
        return result;
    }
    [[nodiscard]] std::string log_text() const {
        std::string text(65536, '\0');
        const ssize_t n = ::pread(log_.get(), text.data(), text.size(), 0);
        text.resize(static_cast<size_t>(std::max<ssize_t>(n, 0)));
        return text;
    }

    Fd log_;
    std::optional<std::string> started_;  // what who asks from the beginning is told
    MonitorConfig config_;
    FakeHost host_;
    Timeline timeline_;
    std::unique_ptr<EventLoop> loop_ = make_event_loop();
    std::optional<Container> container_;
};

/// Asks the container for its root disk, gives it another one and says what was answered.
class RootDiskTest : public ContainerTest {
  protected:
    void exchange() {
        loop_->post([this] {
            request(control::Op::kReleaseDisk, [this](const control::Reply& released) {
                EXPECT_EQ(released.error, "");
                released_ = released;
                status_ = status();
                request(control::Op::kReplaceDisk, [this](const control::Reply& replaced) {
                    replaced_ = replaced;
                    loop_->stop();
                });
            });
        });
    }
    void request(control::Op op, const std::function<void(const control::Reply&)>& answer) {
        control::Request request;
        request.op = op;
        request.disk.layers.resize(2);
        request.freeze = freeze_;
        container_->handle(std::move(request), answer);
    }
    control::MachineStatus status() {
        control::MachineStatus machine;
        request(control::Op::kStatus,
                [&](const control::Reply& reply) { machine = *reply.machine; });
        return machine;
    }
    bool freeze_ = true;
    control::Reply released_;
    control::Reply replaced_;
    control::MachineStatus status_;
};

}  // namespace drupe::testing
