#pragma once

#include <termios.h>

#include <cstdint>
#include <optional>

#include "base/result.h"

namespace drupe::cli {

struct TerminalSize {
    uint16_t rows = 0;
    uint16_t columns = 0;
};

/// Of the terminal that a descriptor is; 0 x 0 if it is none.
[[nodiscard]] TerminalSize terminal_size(int fd);

/// A terminal in raw mode: bytes go to the guest as they are typed, Ctrl-C too. Restored by
/// restore(), the destructor, or restore_terminal().
class RawTerminal {
  public:
    [[nodiscard]] static Result<RawTerminal> enter(int fd);
    RawTerminal(RawTerminal&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    RawTerminal& operator=(RawTerminal&&) = delete;
    ~RawTerminal() { restore(); }
    void restore();

  private:
    explicit RawTerminal(int fd) : fd_(fd) {}
    int fd_;
};

/// Puts the terminal that is in raw mode back, if any: for every way out of the program. Safe in a
/// signal handler.
void restore_terminal();

}  // namespace drupe::cli
