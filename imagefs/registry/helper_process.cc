#include "imagefs/registry/helper_process.h"

#include <fmt/core.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>

#include "base/fd.h"

namespace drupe::imagefs::registry {
namespace {

/// A file in memory: whatever the size of the input, writing it blocks on nobody.
Result<Fd> input_file(const std::string& input) {
    Fd file(::memfd_create("input", MFD_CLOEXEC));
    if (!file.valid()) return os_error("memfd_create");
    TRY(write_exact(file.get(), std::as_bytes(std::span(input)), 0));
    return file;
}

Result<pid_t> spawn(std::vector<std::string> argv, int in, int out) {
    std::vector<char*> pointers;
    for (std::string& word : argv) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    pid_t pid = -1;
    const int error =
        ::posix_spawnp(&pid, pointers.front(), &files, nullptr, pointers.data(), environ);
    posix_spawn_file_actions_destroy(&files);
    if (error != 0) return os_error("start " + argv.front(), error);
    return pid;
}

/// Reads to the end; an error if that takes too long or is too much.
Status collect(int fd, int timeout_ms, size_t max_bytes, std::string& out) {
    using std::chrono::steady_clock;
    const auto until = steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    std::array<char, 4096> buffer{};
    for (;;) {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(until - steady_clock::now());
        if (left.count() <= 0) {
            return Error{ErrorCode::kLimit, fmt::format("no answer in {} ms", timeout_ms)};
        }
        pollfd poll{fd, POLLIN, 0};
        const int ready = ::poll(&poll, 1, static_cast<int>(left.count()));
        if (ready < 0 && errno != EINTR) return os_error("poll");
        if (ready <= 0) continue;
        const ssize_t n = ::read(fd, buffer.data(), buffer.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_error("read its output");
        if (n == 0) return ok();
        out.append(buffer.data(), static_cast<size_t>(n));
        if (out.size() > max_bytes) return Error{ErrorCode::kLimit, "it prints too much"};
    }
}

}  // namespace

Result<ProcessOutput> run_process(const std::vector<std::string>& argv, const std::string& input,
                                  int timeout_ms, size_t max_bytes) {
    TRY_ASSIGN(const Fd in, input_file(input));
    TRY_ASSIGN(FdPair pipe, make_pipe());
    TRY_ASSIGN(const pid_t pid, spawn(argv, in.get(), pipe.second.get()));
    pipe.second.reset();
    ProcessOutput output;
    Status collected = collect(pipe.first.get(), timeout_ms, max_bytes, output.out);
    if (!collected) ::kill(pid, SIGKILL);
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!collected) return std::move(collected).error().wrap(argv.front());
    output.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return output;
}

}  // namespace drupe::imagefs::registry
