#pragma once

// What tests of the drupe command share: a root folder of their own, and the command, whose daemon
// works over monitors that are only played.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <regex>

#include "base/fd.h"

namespace drupe::cli {
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using Strings = std::vector<std::string>;

struct Outcome {
    int code = -1;
    std::string out;
    std::string err;
};

class CliTest : public ::testing::Test {
  protected:
    void SetUp() override {
        char path[] = "/tmp/drupe-cli-XXXXXX";
        ASSERT_NE(::mkdtemp(path), nullptr);
        root_ = path;
        ::setenv("DRUPE_ROOT", path, 1);
        ::setenv("DRUPED", DRUPED_FAKE_PROGRAM, 1);
        ::unsetenv("DRUPE_HOST");
        ::setenv("DRUPE_IMPORT", DRUPE_IMPORT_PROGRAM, 1);
        ::setenv("DRUPE_EXPORT", DRUPE_EXPORT_PROGRAM, 1);
        if (::access("/bin/busybox", X_OK) != 0)
            FAIL() << "no busybox-static here: scripts/install-deps";
    }
    void TearDown() override {
        for (const std::string& id : lines(drupe({"ps", "-aq"}).out)) {
            drupe({"rm", "-f", id});
        }
        end_daemons();
        // Monitors may still be at work in it.
        std::error_code error;
        for (int i = 0; i < 200 && (i == 0 || error); ++i) {
            if (i > 0) ::usleep(10'000);
            std::filesystem::remove_all(root_, error);
        }
        EXPECT_FALSE(error) << error.message();
    }

    [[nodiscard]] std::string socket() const { return root_ + "/run/drupe.sock"; }

    /// Processes that were started for a socket below our root, and no others.
    [[nodiscard]] std::vector<pid_t> daemons() const {
        const std::string words = std::string("-H") + '\0' + "unix://" + root_ + "/";
        std::vector<pid_t> found;
        for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
            const std::string name = entry.path().filename();
            if (name.find_first_not_of("0123456789") != std::string::npos) continue;
            const auto line = read_file(entry.path() / "cmdline", 64 << 10);
            if (line && line.value().find(words) != std::string::npos) {
                found.push_back(std::stoi(name));
            }
        }
        return found;
    }
    void end_daemons() const {
        for (const pid_t pid : daemons()) ::kill(pid, SIGTERM);
        for (int i = 0; i < 500 && !daemons().empty(); ++i) ::usleep(10'000);
        EXPECT_TRUE(daemons().empty());
    }

    static Strings lines(const std::string& text) {
        Strings list;
        std::istringstream in(text);
        for (std::string line; std::getline(in, line);) list.push_back(line);
        return list;
    }

    static pid_t start(const Strings& arguments, int in, int out, int err) {
        std::vector<char*> argv{const_cast<char*>("drupe")};
        for (const std::string& word : arguments) argv.push_back(const_cast<char*>(word.c_str()));
        argv.push_back(nullptr);
        const pid_t child = ::fork();
        if (child != 0) return child;
        ::dup2(in, 0);
        ::dup2(out, 1);
        ::dup2(err, 2);
        ::execv(DRUPE_FAKE_PROGRAM, argv.data());
        _exit(126);
    }
    static int code_of(pid_t child) {
        int status = 0;
        ::waitpid(child, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }

    /// Input and output through files, so that nothing here can block.
    Outcome drupe(const Strings& arguments, const std::string& input = "") {
        const std::string base = root_ + ".io";
        Fd in = open_file(base + "in", O_RDWR | O_CREAT | O_TRUNC, 0600).value();
        EXPECT_TRUE(write_all(in.get(), std::as_bytes(std::span(input))));
        ::lseek(in.get(), 0, SEEK_SET);
        Fd out = open_file(base + "out", O_RDWR | O_CREAT | O_TRUNC, 0600).value();
        Fd err = open_file(base + "err", O_RDWR | O_CREAT | O_TRUNC, 0600).value();
        Outcome outcome;
        outcome.code = code_of(start(arguments, in.get(), out.get(), err.get()));
        outcome.out = read_file(base + "out", 1 << 20).value();
        outcome.err = read_file(base + "err", 1 << 20).value();
        for (const char* end : {"in", "out", "err"}) ::unlink((base + end).c_str());
        return outcome;
    }

    static bool read_until(int fd, const std::string& what, std::string& seen) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (seen.find(what) == std::string::npos) {
            pollfd poll{fd, POLLIN, 0};
            if (std::chrono::steady_clock::now() > deadline) return false;
            if (::poll(&poll, 1, 100) <= 0) continue;
            char buffer[4096];
            const ssize_t n = ::read(fd, buffer, sizeof buffer);
            if (n <= 0) return false;
            seen.append(buffer, static_cast<size_t>(n));
        }
        return true;
    }

    /// Before that the terminal would eat what is typed as it eats Ctrl-Q.
    static bool await_raw(int terminal) {
        termios now{};
        for (int i = 0; i < 2000; ++i) {
            if (::tcgetattr(terminal, &now) == 0 && (now.c_lflag & ICANON) == 0) return true;
            ::usleep(5000);
        }
        return false;
    }

    std::string root_;
};

}  // namespace drupe::cli
