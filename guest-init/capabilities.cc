#include "guest-init/capabilities.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace drupe::init {
namespace {

constexpr unsigned kMostCapabilities = 64;

/// Whether this kernel knows the capability.
bool known(unsigned capability) {
    return ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0;
}

}  // namespace

Status limit_capabilities(uint64_t capabilities) {
    for (unsigned i = 0; i < kMostCapabilities && known(i); ++i) {
        if ((capabilities >> i & 1) != 0) continue;
        if (::prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0) return os_error("drop a capability");
    }
    return ok();
}

Status drop_capabilities(uint64_t capabilities) {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3]{};
    if (::syscall(SYS_capget, &header, sets) < 0) return os_error("capget");
    for (unsigned word = 0; word < _LINUX_CAPABILITY_U32S_3; ++word) {
        const auto kept = static_cast<uint32_t>(capabilities >> (32 * word));
        sets[word].effective &= kept;
        sets[word].permitted &= kept;
        sets[word].inheritable = 0;
    }
    if (::syscall(SYS_capset, &header, sets) < 0) return os_error("capset");
    return ok();
}

}  // namespace drupe::init
