#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "cli/terminal.h"
#include "monitor/control.h"

namespace drupe::cli {

struct StreamOptions {
    bool with_stdin = false;
    bool with_stdout = true;
    bool with_stderr = true;    ///< Not with a terminal: there is one stream of output.
    bool with_console = false;  ///< The kernel's log, to standard error too.
    bool tty = false;
    std::string detach_keys = "ctrl-p,ctrl-q";  ///< Of a terminal with stdin; empty: none.
};

/// The pipes between this process's standard streams and a session in a guest. Each direction has a
/// thread of its own, so that one that is blocked holds up no other; bytes are spliced where the
/// kernel can. The threads end with the process.
class Streams {
  public:
    [[nodiscard]] static Result<Streams> make(const StreamOptions& options);

    /// The session's ends, once. Nobody else may keep them.
    [[nodiscard]] control::Stdio take_far_ends() { return std::move(far_); }
    /// The monitor's end of the console, once; invalid without one. A pipe, never a copy of our own
    /// standard error: the monitor makes it non-blocking, for all who share it.
    [[nodiscard]] Fd take_console_end() { return std::move(far_console_); }
    /// Puts the terminal into raw mode and starts pumping.
    [[nodiscard]] Status start();

    /// Readable when something below has changed; drain it.
    [[nodiscard]] int event_fd() const;
    /// All output of the session has been written to where it goes (or can't be: output_lost()).
    [[nodiscard]] bool output_done() const;
    /// Waits until the console's last line is written: it ends with the monitor, later than the
    /// session does. At most timeout_ms.
    void await_console(int timeout_ms);
    /// Whoever reads our output has gone away.
    [[nodiscard]] bool output_lost() const;
    /// The detach keys were typed.
    [[nodiscard]] bool detached() const;
    void restore_terminal() { raw_.reset(); }

  private:
    struct Shared;
    StreamOptions options_;
    control::Stdio far_;
    Fd to_stdin_;
    Fd from_stdout_;
    Fd from_stderr_;
    Fd from_console_;
    Fd far_console_;
    std::shared_ptr<Shared> shared_;
    std::optional<RawTerminal> raw_;
};

}  // namespace drupe::cli
