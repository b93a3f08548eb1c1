#include "api/server/listen.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace drupe::http {
namespace {

constexpr int kBacklog = 4096;
constexpr mode_t kSocketMode = 0660;
constexpr int kFirstInheritedFd = 3;

Result<sockaddr_un> unix_address(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("socket path '{}': 1 to {} bytes", path.substr(0, 128),
                                 sizeof address.sun_path - 1)};
    }
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    return address;
}

/// Removes a socket that nobody listens on.
Status remove_stale(const std::string& path, const sockaddr_un& address) {
    struct stat there {};
    if (::lstat(path.c_str(), &there) < 0) return ok();
    if (!S_ISSOCK(there.st_mode)) {
        return Error{ErrorCode::kConflict, path + " is there already, and no socket"};
    }
    const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
        return Error{ErrorCode::kConflict, "somebody serves " + path + " already"};
    }
    if (errno != ECONNREFUSED) return os_error("connect to " + path);
    if (::unlink(path.c_str()) < 0) return os_error("unlink " + path);
    return ok();
}

}  // namespace

Result<Fd> listen_unix(const std::string& path, const std::string& group) {
    TRY_ASSIGN(const sockaddr_un address, unix_address(path));
    TRY(remove_stale(path, address));
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket.valid()) return os_error("socket");
    const mode_t before = ::umask(0777);  // nobody's until its owner is set
    const int bound =
        ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    const int error = errno;
    ::umask(before);
    if (bound < 0) return os_error("bind " + path, error);
    const struct group* const known = group.empty() ? nullptr : ::getgrnam(group.c_str());
    if (known != nullptr && ::chown(path.c_str(), 0, known->gr_gid) < 0) {
        return os_error("chown " + path);
    }
    if (::chmod(path.c_str(), kSocketMode) < 0) return os_error("chmod " + path);
    if (::listen(socket.get(), kBacklog) < 0) return os_error("listen on " + path);
    return socket;
}

Result<Fd> listen_tcp(const std::string& host, const std::string& port) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE;
    addrinfo* found = nullptr;
    const int error =
        ::getaddrinfo(host.empty() ? nullptr : host.c_str(), port.c_str(), &hints, &found);
    if (error != 0) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("tcp://{}:{}: {}", host, port, ::gai_strerror(error))};
    }
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> list(found, &::freeaddrinfo);
    Fd socket(::socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket.valid()) return os_error("socket");
    const int on = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(socket.get(), list->ai_addr, list->ai_addrlen) < 0) {
        return os_error(fmt::format("bind tcp://{}:{}", host, port));
    }
    if (::listen(socket.get(), kBacklog) < 0) return os_error("listen");
    return socket;
}

Result<std::vector<Fd>> inherited_sockets() {
    std::vector<Fd> sockets;
    const char* const pid = std::getenv("LISTEN_PID");
    const char* const count = std::getenv("LISTEN_FDS");
    if (pid == nullptr || count == nullptr || std::to_string(::getpid()) != pid) return sockets;
    int number = 0;
    std::from_chars(count, count + std::strlen(count), number);
    for (int fd = kFirstInheritedFd; fd < kFirstInheritedFd + number; ++fd) {
        int listens = 0;
        socklen_t size = sizeof listens;
        if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 || listens == 0) {
            return Error{ErrorCode::kInvalid,
                         fmt::format("inherited descriptor {} is no listening socket", fd)};
        }
        ::fcntl(fd, F_SETFD, FD_CLOEXEC);
        sockets.emplace_back(fd);
    }
    ::unsetenv("LISTEN_PID");
    ::unsetenv("LISTEN_FDS");
    return sockets;
}

void notify_ready() {
    const char* const path = std::getenv("NOTIFY_SOCKET");
    if (path == nullptr) return;
    auto address = unix_address(path);
    if (!address) return;
    const size_t length = std::strlen(path);
    if (address.value().sun_path[0] == '@') address.value().sun_path[0] = '\0';
    const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    constexpr std::string_view kReady = "READY=1";
    ::sendto(socket.get(), kReady.data(), kReady.size(), MSG_NOSIGNAL,
             reinterpret_cast<const sockaddr*>(&address.value()),
             static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length));
}

}  // namespace drupe::http
