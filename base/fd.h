#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "base/result.h"

namespace drupe {

/// The one owner of a file descriptor; closes it when destroyed.
class Fd {
  public:
    Fd() = default;
    explicit Fd(int fd) : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept {
        if (this != &other) reset(std::exchange(other.fd_, -1));
        return *this;
    }
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    ~Fd() { reset(); }

    [[nodiscard]] int get() const { return fd_; }
    [[nodiscard]] bool valid() const { return fd_ >= 0; }
    [[nodiscard]] int release() { return std::exchange(fd_, -1); }
    void reset(int fd = -1);

    /// A second descriptor for the same open file, close-on-exec.
    [[nodiscard]] Result<Fd> duplicate() const;

  private:
    int fd_ = -1;
};

/// open(2) with O_CLOEXEC added; the error names the path.
[[nodiscard]] Result<Fd> open_file(const std::string& path, int flags, mode_t mode = 0);

/// A non-blocking, close-on-exec eventfd with count 0.
[[nodiscard]] Result<Fd> make_eventfd();
/// Adds 1; never blocks (a saturated counter already wakes its reader).
void signal_eventfd(int fd);
/// Takes the whole count; 0 if none was pending.
uint64_t drain_eventfd(int fd);

struct FdPair {
    Fd first;
    Fd second;
};
/// A connected pair of close-on-exec stream (or, with SOCK_SEQPACKET, packet) Unix sockets.
[[nodiscard]] Result<FdPair> make_socketpair(int type);
/// A close-on-exec pipe: first reads, second writes.
[[nodiscard]] Result<FdPair> make_pipe();
[[nodiscard]] Status set_nonblocking(int fd, bool on);
/// Closes every descriptor of this process but those given, which rise. False (errno) if it can't.
/// Async-signal-safe: for a child of fork().
[[nodiscard]] bool close_all_but(std::span<const int> kept);

/// Reads or writes the whole span, going on after short counts and EINTR.
/// read_exact: the end of the file before the span is full is an error (kCorrupt).
[[nodiscard]] Status read_exact(int fd, std::span<std::byte> out, uint64_t offset);
[[nodiscard]] Status write_exact(int fd, std::span<const std::byte> data, uint64_t offset);
[[nodiscard]] Status write_all(int fd, std::span<const std::byte> data);

/// The whole of a file, which may hold at most max_bytes (kLimit otherwise).
[[nodiscard]] Result<std::string> read_file(const std::string& path, size_t max_bytes);
[[nodiscard]] Result<std::string> read_all(int fd, size_t max_bytes);

}  // namespace drupe
