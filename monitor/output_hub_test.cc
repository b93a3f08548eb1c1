#include "monitor/output_hub.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>

namespace drupe {
namespace {

using protocol::Stream;

class OutputHubTest : public testing::Test {
  protected:
    void SetUp() override { std::signal(SIGPIPE, SIG_IGN); }

    Fd attach_pipe() {
        FdPair pipe = std::move(make_pipe()).value();
        EXPECT_TRUE(hub_.attach(std::move(pipe.second)));
        return std::move(pipe.first);
    }
    void run_for(std::chrono::milliseconds time) {
        const auto timer = loop_->after(time, [this] { loop_->stop(); });
        loop_->run();
    }

    int rooms_ = 0;
    std::unique_ptr<EventLoop> loop_ = make_event_loop();
    OutputHub hub_{*loop_, Stream::kStdout, nullptr, [this] { ++rooms_; }};
};

std::string read_some(const Fd& fd, size_t max = 1 << 20) {
    std::string text(max, '\0');
    const ssize_t n = ::read(fd.get(), text.data(), text.size());
    text.resize(static_cast<size_t>(std::max<ssize_t>(n, 0)));
    return text;
}

TEST_F(OutputHubTest, EveryClientGetsEveryByte) {
    const Fd one = attach_pipe();
    const Fd two = attach_pipe();
    EXPECT_TRUE(hub_.offer("hello"));
    EXPECT_EQ(read_some(one), "hello");
    EXPECT_EQ(read_some(two), "hello");
}

TEST_F(OutputHubTest, ASlowClientStopsTheStreamUntilItHasRead) {
    const Fd slow = attach_pipe();
    const std::string chunk(protocol::kMaxStreamData, 'x');
    size_t taken = 0;
    while (hub_.offer(chunk)) taken += chunk.size();
    ASSERT_FALSE(hub_.offer("more"));
    size_t read = 0;
    auto watch = loop_->on_readable(slow.get(), [&] { read += read_some(slow).size(); });
    run_for(std::chrono::milliseconds(50));
    EXPECT_EQ(read, taken);
    EXPECT_EQ(rooms_, 1);
    EXPECT_TRUE(hub_.offer("more"));
}

TEST_F(OutputHubTest, AClientThatHangsUpIsForgotten) {
    { const Fd gone = attach_pipe(); }
    const Fd stays = attach_pipe();
    EXPECT_TRUE(hub_.offer("x"));
    EXPECT_TRUE(hub_.offer("y"));
    EXPECT_EQ(read_some(stays), "xy");
}

TEST_F(OutputHubTest, TheEndComesAfterTheLastByte) {
    const Fd slow = attach_pipe();
    while (hub_.offer(std::string(protocol::kMaxStreamData, 'x'))) {
    }
    bool drained = false;
    hub_.end([&] { drained = true; });
    EXPECT_FALSE(drained);
    bool at_end = false;
    auto watch =
        loop_->on_readable(slow.get(), [&] { at_end = at_end || read_some(slow).empty(); });
    run_for(std::chrono::milliseconds(50));
    EXPECT_TRUE(drained);
    EXPECT_TRUE(at_end);
}

TEST_F(OutputHubTest, OnlyPipesAndSocketsAreTaken) {
    EXPECT_FALSE(hub_.attach(std::move(open_file("/dev/null", O_WRONLY)).value()));
    EXPECT_FALSE(hub_.attach(std::move(open_file("/tmp", O_TMPFILE | O_RDWR, 0600)).value()));
}

}  // namespace
}  // namespace drupe
