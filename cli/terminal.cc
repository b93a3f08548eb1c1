#include "cli/terminal.h"

#include <sys/ioctl.h>

#include <atomic>
#include <cerrno>

namespace drupe::cli {
namespace {

// What restore_terminal() needs, from wherever the program ends.
termios g_saved{};              // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)
std::atomic<int> g_raw_fd{-1};  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

}  // namespace

TerminalSize terminal_size(int fd) {
    winsize size{};
    if (::ioctl(fd, TIOCGWINSZ, &size) < 0) return {};
    return {size.ws_row, size.ws_col};
}

Result<RawTerminal> RawTerminal::enter(int fd) {
    if (::tcgetattr(fd, &g_saved) < 0) return os_error("read the terminal's settings");
    termios raw = g_saved;
    ::cfmakeraw(&raw);
    g_raw_fd.store(fd);
    if (::tcsetattr(fd, TCSADRAIN, &raw) < 0) return os_error("put the terminal into raw mode");
    return RawTerminal(fd);
}

void RawTerminal::restore() {
    if (fd_ >= 0) restore_terminal();
    fd_ = -1;
}

void restore_terminal() {
    const int saved_errno = errno;
    const int fd = g_raw_fd.exchange(-1);
    if (fd >= 0) ::tcsetattr(fd, TCSADRAIN, &g_saved);
    errno = saved_errno;
}

}  // namespace drupe::cli
