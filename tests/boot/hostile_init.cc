// A PID 1 that is the host's enemy: what it does is compiled in by HOSTILE_ACT, one initramfs an
// act.

#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "guest-init/protocol.h"

namespace {

using namespace drupe;  // NOLINT: a test program

enum Act {
    kPanic,
    kReset,
    kPowerOff,
    kGarbage,
    kGiantFrame,
    kFlood,
    kHalt,
    kSilence,
    kConsoleFlood
};

int connect_host(uint32_t port, int flags = 0) {
    const int fd = ::socket(AF_VSOCK, SOCK_STREAM | flags, 0);
    sockaddr_vm address{};
    address.svm_family = AF_VSOCK;
    address.svm_cid = protocol::kHostCid;
    address.svm_port = port;
    (void)::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    return fd;
}

void send(int fd, const std::string& bytes) {
    [[maybe_unused]] const ssize_t ignored = ::write(fd, bytes.data(), bytes.size());
}

[[noreturn]] void wait_for_the_end() {
    for (;;) ::pause();
}

void hello(int fd) {
    send(fd, protocol::frame(protocol::Kind::kHello, 0, protocol::Hello{}));
}

void send_garbage() {
    const int fd = connect_host(protocol::kControlPort);
    hello(fd);
    std::string noise;
    for (int i = 0; i < 65536; ++i) noise += static_cast<char>(i * 7919 >> 3);
    for (int i = 0; i < 64; ++i) send(fd, noise);
}

void announce_a_giant_frame() {
    const int fd = connect_host(protocol::kControlPort);
    hello(fd);
    send(fd, std::string("\xff\xff\xff\xff\x02\x00\x00\x00\x01\x00\x00\x00", 12));
}

/// As many connections to every port as it gets, none of them read from.
void flood_connections() {
    for (int round = 0; round < 4; ++round) {
        std::vector<int> fds;
        for (uint32_t i = 0; i < 3000; ++i)
            fds.push_back(
                connect_host(i % 3 == 0 ? protocol::kControlPort : 2000 + i, SOCK_NONBLOCK));
        for (const int fd : fds) ::close(fd);
    }
    const int fd = connect_host(protocol::kControlPort);
    hello(fd);
    send(fd, std::string(64, '\xff'));
}

void halt_at_once() {
    const int fd = connect_host(protocol::kControlPort);
    hello(fd);
    send(fd, protocol::frame(protocol::Kind::kHalted, 0, protocol::Shutdown{}));
}

void flood_console() {
    const int fd = ::open("/dev/console", O_WRONLY);
    const std::string line(4096, 'x');
    for (int i = 0; i < 64; ++i) send(fd, line);
    ::reboot(RB_AUTOBOOT);
}

}  // namespace

int main() {
    switch (static_cast<Act>(HOSTILE_ACT)) {
        case kPanic:
            return 1;  // "Attempted to kill init!"
        case kReset:
            ::reboot(RB_AUTOBOOT);
            break;
        case kPowerOff:
            ::reboot(RB_POWER_OFF);
            break;
        case kGarbage:
            send_garbage();
            break;
        case kGiantFrame:
            announce_a_giant_frame();
            break;
        case kFlood:
            flood_connections();
            break;
        case kHalt:
            halt_at_once();
            break;
        case kSilence:
            break;
        case kConsoleFlood:
            flood_console();
            break;
    }
    wait_for_the_end();
}
