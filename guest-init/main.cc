// drupe-init, PID 1 of the guest. Runs from the initramfs; docs: protocol.h and init.h.

// clang-format off: vm_sockets.h needs sockaddr
#include <linux/vm_sockets.h>
#include <sys/socket.h>
// clang-format on

#include <fcntl.h>
#include <signal.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "guest-init/init.h"
#include "guest-init/mounts.h"
#include "guest-init/rehearsal.h"

namespace drupe::init {
namespace {

uint64_t boot_time_ns() {
    timespec now{};
    (void)::clock_gettime(CLOCK_BOOTTIME, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

void power_off() {
    // The host ends the machine once it has read Halted; this is for one that doesn't.
    constexpr timespec kPatience{.tv_sec = 1, .tv_nsec = 0};
    (void)::nanosleep(&kPatience, nullptr);
    (void)::reboot(RB_POWER_OFF);
}

/// The end when nothing else is left: PID 1 must not exit, that would be a panic.
[[noreturn]] void give_up(const char* why) {
    const std::string line = std::string("drupe-init: ") + why + "; powering off\n";
    [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, line.data(), line.size());
    (void)::reboot(RB_POWER_OFF);
    for (;;) ::pause();
}

void on_fatal_signal(int number) {
    (void)number;
    // Nothing here allocates or locks.
    constexpr char kLine[] = "drupe-init: killed by a bug; powering off\n";
    [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, kLine, sizeof kLine - 1);
    (void)::reboot(RB_POWER_OFF);
    for (;;) ::pause();
}

/// Without a console the kernel opens no standard descriptors; a socket must not become one.
void open_standard_descriptors() {
    if (::fcntl(STDERR_FILENO, F_GETFD) >= 0) return;
    int fd = 0;
    do {
        fd = ::open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd < STDERR_FILENO);
}

Result<Fd> vsock() {
    Fd fd(::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd.valid()) return os_error("vsock");
    return fd;
}

const sockaddr* generic(const sockaddr_vm& address) {
    return reinterpret_cast<const sockaddr*>(&address);
}

Result<Fd> connect_control() {
    TRY_ASSIGN(Fd fd, vsock());
    sockaddr_vm host{};
    host.svm_family = AF_VSOCK;
    host.svm_cid = protocol::kHostCid;
    host.svm_port = protocol::kControlPort;
    if (::connect(fd.get(), generic(host), sizeof host) < 0) return os_error("connect to the host");
    return fd;
}

Result<Fd> listen_streams() {
    TRY_ASSIGN(Fd fd, vsock());
    sockaddr_vm own{};
    own.svm_family = AF_VSOCK;
    own.svm_cid = VMADDR_CID_ANY;
    own.svm_port = protocol::kStreamPort;
    if (::bind(fd.get(), generic(own), sizeof own) < 0 || ::listen(fd.get(), 128) < 0)
        return os_error("listen for streams");
    TRY(set_nonblocking(fd.get(), true));
    return fd;
}

}  // namespace
}  // namespace drupe::init

int main(int argc, char** argv) {
    using namespace drupe::init;
    if (argc == 2 && std::strcmp(argv[1], kRehearsed) == 0) return 0;
    const uint64_t started_ns = boot_time_ns();
    open_standard_descriptors();
    for (const int number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL})
        ::signal(number, on_fatal_signal);
    Init init({.connect_control = connect_control,
               .listen_streams = listen_streams,
               .prepare_disks = prepare_disks,
               .mount_disk = mount_disk,
               .base = "",
               .power_off = power_off},
              started_ns);
    const drupe::Status status = init.run();
    give_up(status ? "stopped" : status.error().message.c_str());
}
