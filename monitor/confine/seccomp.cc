#include "monitor/confine/seccomp.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <span>
#include <vector>

#include "monitor/confine/seccomp_rules.h"

namespace drupe::confine {
namespace {

#include "seccomp_filters.inc"  // made by seccomp_compile

std::span<const sock_filter> filter_of(Role role) {
    switch (role) {
        case Role::kMain:
            return kMainFilter;
        case Role::kBlock:
            return kBlockFilter;
        case Role::kVcpu:
            return kVcpuFilter;
        case Role::kReader:
            return kReaderFilter;
    }
    return {};
}

}  // namespace

Status install(Role role) {
    const std::span<const sock_filter> filter = filter_of(role);
    std::vector<sock_filter> instructions(filter.begin(), filter.end());
    for (sock_filter& instruction : instructions) {
        if (instruction.code == (BPF_JMP | BPF_JEQ | BPF_K) && instruction.k == kOwnProcess)
            instruction.k = static_cast<uint32_t>(::getpid());
    }
    const sock_fprog program{static_cast<unsigned short>(instructions.size()), instructions.data()};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return os_error("seccomp: no_new_privs");
    if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
        return os_error("seccomp: load a filter (a kernel with CONFIG_SECCOMP_FILTER is needed)");
    return ok();
}

}  // namespace drupe::confine
