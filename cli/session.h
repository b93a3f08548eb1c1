#pragma once

#include <string>

#include "api/engine/local.h"
#include "cli/foreground.h"
#include "cli/streams.h"

namespace drupe::cli {

/// The engine of this process. Never closed: the last one to close a database copies its log back
/// and syncs it, and the next command would pay for starting a new one.
[[nodiscard]] Result<engine::Local*> open_engine();

/// What run, start -a and attach have in common once a machine is connected to: stays with it to
/// its end, says what went wrong, cleans up behind it. Returns the exit code.
struct ForegroundOptions {
    bool launched = false;  ///< By this command: a machine that nobody can be with is ended.
    bool tty = false;
    bool sig_proxy = true;
    bool timing = false;
    uint64_t begin_ns = 0;  ///< CLOCK_MONOTONIC at which the command began.
};
[[nodiscard]] int stay_with(engine::Local& local, engine::Machine machine, Streams& streams,
                            SignalPipe& signals, const ForegroundOptions& options);

/// Waits until a machine that was started in the background runs its workload. 0, or the exit code
/// of what couldn't be started, which has been said.
[[nodiscard]] int see_it_start(engine::Local& local, engine::Machine& machine);

/// Has the rest of a container that has ended cleared away by a process of its own, after us.
void clean_up_later(const std::string& id);

/// Has what commits have sealed compacted by a process of its own.
void maintain_later();

/// kInvalid if standard input has to be a terminal and isn't one.
[[nodiscard]] Status check_terminal(bool tty, bool with_stdin);

}  // namespace drupe::cli
