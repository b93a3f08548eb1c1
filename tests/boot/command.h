#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"

namespace drupe::testing {

struct Outcome {
    int exit_code = -1;  ///< 128 + signal if one ended it.
    std::string out;
    std::string err;
};

/// A running program with pipes, or with a terminal of its own.
class Process {
  public:
    enum class Io { kPipes, kTerminal };
    Process(const std::vector<std::string>& argv, Io io);
    ~Process();
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    void write(const std::string& bytes);
    void close_stdin();
    void signal(int number) const;
    void resize(uint16_t rows, uint16_t columns) const;
    /// Reads output (both streams) until it holds text; false when time is over or the output ends.
    [[nodiscard]] bool wait_for(const std::string& text, std::chrono::seconds limit);
    /// Reads all output and waits for the end; kills it when time is over (exit code -1).
    [[nodiscard]] Outcome finish(std::chrono::seconds limit);

  private:
    bool read_some(std::chrono::milliseconds limit);
    pid_t pid_ = -1;
    Fd in_;
    Fd out_;
    Fd err_;
    Outcome outcome_;
};

/// Runs the built `drupe` with these arguments, and with it a daemon for $DRUPE_ROOT; input is all
/// of its stdin.
[[nodiscard]] Outcome drupe(const std::vector<std::string>& arguments,
                            const std::string& input = "",
                            std::chrono::seconds limit = std::chrono::seconds(120));
/// argv of the same command, for Process.
[[nodiscard]] std::vector<std::string> drupe_argv(const std::vector<std::string>& arguments);

/// Ends the daemon that the command has started for this $DRUPE_ROOT, if there is one; the next
/// command starts another. Called at the end of each test program.
void end_daemon();

/// How often a counted test repeats: `full` with DRUPE_LONG=1, else `brief`.
[[nodiscard]] int repetitions(int brief, int full);

}  // namespace drupe::testing
