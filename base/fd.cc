#include "base/fd.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace drupe {

void Fd::reset(int fd) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
}

Result<Fd> Fd::duplicate() const {
    const int copy = ::fcntl(fd_, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) return os_error("duplicate descriptor");
    return Fd(copy);
}

Result<Fd> open_file(const std::string& path, int flags, mode_t mode) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
    if (fd < 0) return os_error("open " + path);
    return Fd(fd);
}

Result<Fd> make_eventfd() {
    const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) return os_error("eventfd");
    return Fd(fd);
}

void signal_eventfd(int fd) {
    const uint64_t one = 1;
    while (::write(fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

uint64_t drain_eventfd(int fd) {
    uint64_t count = 0;
    ssize_t n = 0;
    do {
        n = ::read(fd, &count, sizeof count);
    } while (n < 0 && errno == EINTR);
    return n == static_cast<ssize_t>(sizeof count) ? count : 0;
}

Result<FdPair> make_socketpair(int type) {
    int fds[2];
    if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) < 0) return os_error("socketpair");
    return FdPair{Fd(fds[0]), Fd(fds[1])};
}

Result<FdPair> make_pipe() {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) < 0) return os_error("pipe");
    return FdPair{Fd(fds[0]), Fd(fds[1])};
}

Status set_nonblocking(int fd, bool on) {
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0) return os_error("fcntl F_GETFL");
    if (::fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) < 0)
        return os_error("fcntl F_SETFL");
    return ok();
}

bool close_all_but(std::span<const int> kept) {
    int next = 0;
    for (const int fd : kept) {
        if (next < fd && ::syscall(SYS_close_range, next, fd - 1, 0) < 0) return false;
        next = fd + 1;
    }
    return ::syscall(SYS_close_range, next, ~0U, 0) == 0;
}

Status read_exact(int fd, std::span<std::byte> out, uint64_t offset) {
    while (!out.empty()) {
        const ssize_t n = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_error("read");
        if (n == 0) return Error{ErrorCode::kCorrupt, "unexpected end of file"};
        out = out.subspan(static_cast<size_t>(n));
        offset += static_cast<uint64_t>(n);
    }
    return ok();
}

Status write_exact(int fd, std::span<const std::byte> data, uint64_t offset) {
    while (!data.empty()) {
        const ssize_t n = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_error("write");
        data = data.subspan(static_cast<size_t>(n));
        offset += static_cast<uint64_t>(n);
    }
    return ok();
}

Status write_all(int fd, std::span<const std::byte> data) {
    while (!data.empty()) {
        const ssize_t n = ::write(fd, data.data(), data.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_error("write");
        data = data.subspan(static_cast<size_t>(n));
    }
    return ok();
}

Result<std::string> read_all(int fd, size_t max_bytes) {
    std::string text;
    char buffer[16384];
    for (;;) {
        const ssize_t n = ::read(fd, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_error("read");
        if (n == 0) return text;
        text.append(buffer, static_cast<size_t>(n));
        if (text.size() > max_bytes)
            return Error{ErrorCode::kLimit,
                         "holds more than " + std::to_string(max_bytes) + " bytes"};
    }
}

Result<std::string> read_file(const std::string& path, size_t max_bytes) {
    TRY_ASSIGN(Fd fd, open_file(path, O_RDONLY));
    auto text = read_all(fd.get(), max_bytes);
    if (!text) return std::move(text).error().wrap(path);
    return text;
}

}  // namespace drupe
