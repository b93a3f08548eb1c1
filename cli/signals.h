#pragma once

#include <optional>

#include "base/fd.h"
#include "base/result.h"

namespace drupe::cli {

/// Turns signals that are the workload's into bytes on a pipe, from construction on: HUP, INT,
/// QUIT, TERM, USR1, USR2, ALRM, WINCH. Handlers, not a mask: what is started meanwhile inherits
/// neither. PIPE is caught and does nothing (a write then fails). One per process.
class SignalPipe {
  public:
    [[nodiscard]] static Result<SignalPipe> install();
    /// Readable when a signal has come.
    [[nodiscard]] int fd() const { return read_.get(); }
    /// The next signal that has come, if any.
    [[nodiscard]] std::optional<int> next();

  private:
    explicit SignalPipe(Fd read) : read_(std::move(read)) {}
    Fd read_;
};

}  // namespace drupe::cli
