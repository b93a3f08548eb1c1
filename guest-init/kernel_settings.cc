#include "guest-init/kernel_settings.h"

#include <fcntl.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "guest-init/mounts.h"

namespace drupe::init {
namespace {

void set_sysctl(const Fd& proc, const char* name, std::string_view value) {
    const std::string path = std::string("sys/") + name;
    const Fd file(::openat(proc.get(), path.c_str(), O_WRONLY | O_CLOEXEC));
    [[maybe_unused]] const ssize_t ignored = ::write(file.get(), value.data(), value.size());
}

Status loopback_up() {
    const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket.valid()) return os_error("socket");
    ifreq request{};
    std::memcpy(request.ifr_name, "lo", 3);
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) < 0) return os_error("bring lo up");
    return ok();
}

}  // namespace

Status prepare_kernel() {
    TRY_ASSIGN(const Fd proc, mount_for_this_process("proc"));
    set_sysctl(proc, "net/ipv4/ip_unprivileged_port_start", "0");
    set_sysctl(proc, "net/ipv4/ping_group_range", "0 2147483647");
    // What wakes an idle machine: compaction looks for something to do twice a second, statistics
    // are added up every second (seconds here).
    set_sysctl(proc, "vm/compaction_proactiveness", "0");
    set_sysctl(proc, "vm/stat_interval", "30");
    return loopback_up();
}

}  // namespace drupe::init
