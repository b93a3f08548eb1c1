#include "tests/boot/command.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "base/check.h"

namespace drupe::testing {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

std::string environment(const char* name, const std::string& otherwise) {
    const char* value = std::getenv(name);
    return value != nullptr && *value != '\0' ? value : otherwise;
}

[[noreturn]] void exec(const std::vector<std::string>& argv) {
    std::vector<char*> pointers;
    for (const std::string& argument : argv)
        pointers.push_back(const_cast<char*>(argument.c_str()));
    pointers.push_back(nullptr);
    ::execvp(pointers[0], pointers.data());
    ::_exit(127);
}

/// False at the end of the stream.
bool read_into(Fd& fd, std::string& text) {
    std::array<char, 65536> buffer;
    const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n > 0) text.append(buffer.data(), static_cast<size_t>(n));
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) fd.reset();
    return fd.valid();
}

}  // namespace

Process::Process(const std::vector<std::string>& argv, Io io) {
    if (io == Io::kTerminal) {
        int master = -1;
        pid_ = ::forkpty(&master, nullptr, nullptr, nullptr);
        DRUPE_CHECK(pid_ >= 0);
        if (pid_ == 0) exec(argv);
        out_ = Fd(master);
        return;
    }
    FdPair in = std::move(make_pipe()).value();
    FdPair out = std::move(make_pipe()).value();
    FdPair err = std::move(make_pipe()).value();
    pid_ = ::fork();
    DRUPE_CHECK(pid_ >= 0);
    if (pid_ == 0) {
        ::dup2(in.first.get(), 0);
        ::dup2(out.second.get(), 1);
        ::dup2(err.second.get(), 2);
        exec(argv);
    }
    in_ = std::move(in.second);
    out_ = std::move(out.first);
    err_ = std::move(err.first);
}

Process::~Process() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
}

void Process::write(const std::string& bytes) {
    const int fd = in_.valid() ? in_.get() : out_.get();
    size_t done = 0;
    while (done < bytes.size()) {
        // Take output meanwhile, or a program that echoes would wait for us while we wait for it.
        std::array<pollfd, 3> poll{
            {{fd, POLLOUT, 0}, {out_.get(), POLLIN, 0}, {err_.get(), POLLIN, 0}}};
        if (::poll(poll.data(), poll.size(), 120'000) <= 0) return;
        if ((poll[1].revents & (POLLIN | POLLHUP)) != 0) read_into(out_, outcome_.out);
        if ((poll[2].revents & (POLLIN | POLLHUP)) != 0) read_into(err_, outcome_.err);
        if ((poll[0].revents & POLLERR) != 0) return;
        if ((poll[0].revents & POLLOUT) == 0) continue;
        const ssize_t n =
            ::write(fd, bytes.data() + done, std::min<size_t>(bytes.size() - done, 4096));
        if (n < 0) return;
        done += static_cast<size_t>(n);
    }
}

void Process::close_stdin() {
    in_.reset();
}
void Process::signal(int number) const {
    ::kill(pid_, number);
}

void Process::resize(uint16_t rows, uint16_t columns) const {
    winsize size{};
    size.ws_row = rows;
    size.ws_col = columns;
    ::ioctl(out_.get(), TIOCSWINSZ, &size);
}

bool Process::read_some(milliseconds limit) {
    std::array<pollfd, 2> poll{{{out_.get(), POLLIN, 0}, {err_.get(), POLLIN, 0}}};
    if (::poll(poll.data(), poll.size(), static_cast<int>(limit.count())) < 0) return true;
    if (poll[0].revents != 0) read_into(out_, outcome_.out);
    if (poll[1].revents != 0) read_into(err_, outcome_.err);
    return out_.valid() || err_.valid();
}

bool Process::wait_for(const std::string& text, std::chrono::seconds limit) {
    const auto deadline = Clock::now() + limit;
    for (;;) {
        if ((outcome_.out + outcome_.err).find(text) != std::string::npos) return true;
        if (Clock::now() >= deadline || !read_some(milliseconds(100))) return false;
    }
}

Outcome Process::finish(std::chrono::seconds limit) {
    close_stdin();
    const auto deadline = Clock::now() + limit;
    while (read_some(milliseconds(100)) && Clock::now() < deadline) {
    }
    int status = 0;
    while (::waitpid(pid_, &status, WNOHANG) == 0) {
        if (Clock::now() >= deadline) return std::move(outcome_);  // the destructor kills it
        ::poll(nullptr, 0, 5);
    }
    pid_ = -1;
    outcome_.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return std::move(outcome_);
}

std::vector<std::string> drupe_argv(const std::vector<std::string>& arguments) {
    std::vector<std::string> argv{environment("DRUPE", DRUPE_TEST_BINARY_DIR "/drupe")};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return argv;
}

Outcome drupe(const std::vector<std::string>& arguments, const std::string& input,
              std::chrono::seconds limit) {
    Process process(drupe_argv(arguments), Process::Io::kPipes);
    process.write(input);
    return process.finish(limit);
}

void end_daemon() {
    const std::string root = environment("DRUPE_ROOT", "");
    const std::string run = environment("DRUPE_RUN", root.empty() ? "/run/drupe" : root + "/run");
    const auto text = read_file(run + "/druped.pid", 32);
    const pid_t pid = text ? std::atoi(text.value().c_str()) : 0;
    if (pid <= 0 || ::kill(pid, SIGTERM) < 0) return;
    for (int i = 0; i < 1000 && ::kill(pid, 0) == 0; ++i) ::usleep(10'000);
}

namespace {

/// No daemon outlives the tests that needed it.
class DaemonEnvironment final : public ::testing::Environment {
  public:
    void TearDown() override { end_daemon(); }
};
const ::testing::Environment* const registered =
    ::testing::AddGlobalTestEnvironment(new DaemonEnvironment);

}  // namespace

int repetitions(int brief, int full) {
    return environment("DRUPE_LONG", "0") == "1" ? full : brief;
}

}  // namespace drupe::testing
