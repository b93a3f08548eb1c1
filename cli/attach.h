#pragma once

#include <cstdint>
#include <string>

#include "api/client/client.h"

namespace drupe::cli {

/// What run, start -a and attach have in common: a container's streams are this process's.
struct Attach {
    bool start = false;  ///< It is connected to first, then started: nothing is missed.
    bool tty = false;
    bool with_stdin = false;
    bool sig_proxy = true;  ///< Signals are the workload's.
    bool auto_remove = false;
    bool timing = false;      ///< Print where the time went.
    uint64_t begin_ns = 0;    ///< CLOCK_MONOTONIC at which the command began,
    uint64_t created_ns = 0;  ///< and at which its container had been made.
    std::string detach_keys;
};
/// Stays with it to its end; returns its exit code, or that of what went wrong, which has been
/// said.
[[nodiscard]] int stay_with(client::Client& client, const std::string& id, const Attach& options);

/// The same with what its configuration says of terminal, stdin and removal.
[[nodiscard]] int attach_to(const std::string& name, Attach options);

/// Docker's exit code of a start that failed: 127 and 126 for a program that can't be run.
[[nodiscard]] int code_of_start(const Error& error);

/// kInvalid if standard input has to be a terminal and isn't one.
[[nodiscard]] Status check_terminal(bool tty, bool with_stdin);

}  // namespace drupe::cli
