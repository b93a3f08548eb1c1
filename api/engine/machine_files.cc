#include "api/engine/machine_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace drupe::engine {
namespace {

constexpr mode_t kFileMode = 0600;
constexpr int kBacklog = 16;

}  // namespace

Result<Fd> make_control_socket(const std::string& where) {
    TRY_ASSIGN(const Fd folder, open_file(where, O_PATH | O_DIRECTORY));
    const std::string path = fmt::format("/proc/self/fd/{}/control", folder.get());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!socket.valid()) return os_error("socket");
    if (::unlinkat(folder.get(), "control", 0) < 0 && errno != ENOENT) {
        return os_error("unlink " + where + "/control");
    }
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
        return os_error("bind " + where + "/control");
    }
    if (::fchmodat(folder.get(), "control", kFileMode, 0) < 0) return os_error("chmod control");
    if (::listen(socket.get(), kBacklog) < 0) return os_error("listen on " + where + "/control");
    return socket;
}

Result<Fd> open_part(const std::string& path, const char* what, const char* advice) {
    if (path.empty()) {
        return Error{ErrorCode::kIo, fmt::format("found no {}: {}", what, advice)};
    }
    auto file = open_file(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);  // a FIFO's would wait
    if (!file) return std::move(file).error().wrap(what);
    struct stat status {};
    if (::fstat(file.value().get(), &status) < 0) return os_error("fstat " + path);
    if (!S_ISREG(status.st_mode)) {
        return Error{ErrorCode::kInvalid, fmt::format("{}: {} is no regular file", what, path)};
    }
    return file;
}

Result<Fd> open_kvm(const std::string& path) {
    auto kvm = open_file(path, O_RDWR);
    if (!kvm) {
        Error error = std::move(kvm).error();
        error.message += ": is KVM there and may you use it? See drupe doctor";
        return error;
    }
    return kvm;
}

}  // namespace drupe::engine
