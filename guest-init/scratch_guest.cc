#include "guest-init/scratch_guest.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "guest-init/init.h"

namespace drupe::init {
namespace {

constexpr const char* kApplets[] = {"sh",    "cat",   "echo", "false", "head", "hostname", "id",
                                    "kill",  "mount", "ps",   "pwd",   "sed",  "seq",      "setsid",
                                    "sleep", "stty",  "true", "tty",   "yes",  "grep",     "ls"};

Result<sockaddr_un> stream_address(const std::string& directory) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = directory + "/streams";
    if (path.size() >= sizeof address.sun_path) return Error{ErrorCode::kInvalid, "long path"};
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    return address;
}

const sockaddr* generic(const sockaddr_un& address) {
    return reinterpret_cast<const sockaddr*>(&address);
}

Result<Fd> unix_socket(int type) {
    Fd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    if (!fd.valid()) return os_error("socket");
    return fd;
}

Status put_file(const std::string& path, std::string_view text, mode_t mode = 0644) {
    TRY_ASSIGN(const Fd fd, open_file(path, O_WRONLY | O_CREAT | O_TRUNC, mode));
    return write_all(fd.get(), std::as_bytes(std::span(text)));
}

Status copy_busybox(const std::string& to) {
    TRY_ASSIGN(const Fd from, open_file("/bin/busybox", O_RDONLY));
    TRY_ASSIGN(const Fd out, open_file(to, O_WRONLY | O_CREAT, 0755));
    while (true) {
        const ssize_t n = ::sendfile(out.get(), from.get(), nullptr, 1 << 20);
        if (n < 0) return os_error("copy busybox");
        if (n == 0) return ok();
    }
}

/// The image: no /proc and the like, so that the missing mount points are made.
Status make_disk(const std::string& where) {
    if (::mount("tmpfs", where.c_str(), "tmpfs", 0, "mode=755") < 0) return os_error("mount disk");
    for (const char* directory : {"/bin", "/etc", "/home"})
        if (::mkdir((where + directory).c_str(), 0755) < 0) return os_error("mkdir");
    TRY(copy_busybox(where + "/bin/busybox"));
    for (const char* applet : kApplets)
        if (::symlink("busybox", (where + "/bin/" + applet).c_str()) < 0) return os_error("link");
    TRY(put_file(where + "/etc/passwd",
                 "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n"));
    TRY(put_file(where + "/etc/group", "root:x:0:\nalice:x:1000:\naudio:x:29:alice\n"));
    TRY(put_file(where + "/etc/machine-id", ""));
    TRY(put_file(where + "/bin/no-interpreter", "#!/nosuch\n", 0755));
    return put_file(where + "/bin/garbage", "\x7fNOT-ELF", 0755);
}

/// The guest's end of a new connection, whose other end goes to the test.
Result<Fd> connect_through(int broker) {
    TRY_ASSIGN(FdPair pair, make_socketpair(SOCK_STREAM));
    char byte = 0;
    iovec data{.iov_base = &byte, .iov_len = 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = pair.second.get();
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    if (::sendmsg(broker, &message, MSG_NOSIGNAL) < 0) return os_error("connect");
    return std::move(pair.first);
}

}  // namespace

Result<std::unique_ptr<ScratchGuest>> ScratchGuest::start() {
    std::unique_ptr<ScratchGuest> guest(new ScratchGuest);
    char directory[] = "/tmp/drupe-guest-XXXXXX";
    if (::mkdtemp(directory) == nullptr) return os_error("mkdtemp");
    guest->directory_ = directory;
    TRY_ASSIGN(FdPair broker, make_socketpair(SOCK_SEQPACKET));
    TRY_ASSIGN(Fd listener, unix_socket(SOCK_STREAM | SOCK_NONBLOCK));
    TRY_ASSIGN(const sockaddr_un address, stream_address(guest->directory_));
    if (::bind(listener.get(), generic(address), sizeof address) < 0 ||
        ::listen(listener.get(), 1024) < 0)
        return os_error("listen");
    const long pid = ::syscall(SYS_clone,
                               CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWNET |
                                   CLONE_NEWIPC | CLONE_NEWCGROUP | SIGCHLD,
                               nullptr, nullptr, nullptr, nullptr);
    if (pid < 0) return os_error("clone");
    if (pid == 0) guest->run_guest(std::move(broker.second), std::move(listener));
    guest->pid_ = static_cast<pid_t>(pid);
    guest->broker_ = std::move(broker.first);
    return guest;
}

void ScratchGuest::run_guest(Fd broker, Fd listener) const {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const std::string& base = directory_;
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0 ||
        ::mkdir((base + "/disk").c_str(), 0755) < 0 ||
        ::mkdir((base + "/identity").c_str(), 0755) < 0)
        ::_exit(99);
    Init init({.connect_control = [&] { return connect_through(broker.get()); },
               .listen_streams = [&]() -> Result<Fd> { return std::move(listener); },
               .prepare_disks = [] { return ok(); },
               .mount_disk = [](const protocol::Root& /*order*/,
                                const std::string& where) { return make_disk(where); },
               .base = base,
               .power_off = [] {}},
              1);
    const Status status = init.run();
    if (!status) std::fprintf(stderr, "%s\n", status.error().message.c_str());
    ::_exit(status ? 0 : 98);
}

ScratchGuest::~ScratchGuest() {
    if (pid_ > 0) {
        ::kill(pid_, SIGKILL);
        (void)wait();
    }
    for (const char* name : {"/streams", "/disk", "/identity", ""})
        (void)::remove((directory_ + name).c_str());
}

int ScratchGuest::wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Result<Fd> ScratchGuest::accept_control() const {
    char byte = 0;
    iovec data{.iov_base = &byte, .iov_len = 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (::recvmsg(broker_.get(), &message, MSG_CMSG_CLOEXEC) <= 0) return os_error("accept");
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header == nullptr) return Error{ErrorCode::kIo, "no descriptor"};
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return Fd(fd);
}

Result<Fd> ScratchGuest::connect_stream() const {
    TRY_ASSIGN(Fd fd, unix_socket(SOCK_STREAM));
    TRY_ASSIGN(const sockaddr_un address, stream_address(directory_));
    if (::connect(fd.get(), generic(address), sizeof address) < 0) return os_error("connect");
    return fd;
}

}  // namespace drupe::init
