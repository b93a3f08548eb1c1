// Built and run at build time: turns the table of seccomp_rules.cc into filters, as C++ arrays on
// standard output. drupe-vmm would need milliseconds for that, and libseccomp.
#include <linux/filter.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "monitor/confine/seccomp_rules.h"

namespace drupe::confine {
namespace {

void check(int result, const char* what) {
    if (result >= 0) return;
    std::fprintf(stderr, "seccomp_compile: %s: error %d\n", what, -result);
    std::exit(1);
}

void add(scmp_filter_ctx filter, const Rule& rule) {
    std::array<scmp_arg_cmp, 6> arguments{};
    unsigned count = 0;
    for (const Condition& condition : rule.conditions) {
        arguments.at(count++) =
            scmp_arg_cmp{condition.argument, SCMP_CMP_MASKED_EQ, condition.mask, condition.value};
    }
    const uint32_t action = rule.refuse_with == 0
                                ? SCMP_ACT_ALLOW
                                : SCMP_ACT_ERRNO(static_cast<uint32_t>(rule.refuse_with));
    check(::seccomp_rule_add_exact_array(filter, action, rule.number, count, arguments.data()),
          rule.reason);
}

std::vector<sock_filter> compile(RoleBits role) {
    const scmp_filter_ctx filter = ::seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (filter == nullptr) check(-1, "seccomp_init");
    // Calls of another architecture's ABI (32-bit, x32) end the process too.
    check(::seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS), "attribute");
    for (const Rule& rule : seccomp_rules())
        if ((rule.roles & role) != 0) add(filter, rule);
    // A vCPU makes this call at every exit to user space; its argument keeps it out of the kernel's
    // cache of calls that are always allowed.
    if (role == kV) check(::seccomp_syscall_priority(filter, SCMP_SYS(ioctl), 255), "priority");

    const int file = ::memfd_create("filter", 0);
    check(::seccomp_export_bpf(filter, file), "export");
    ::seccomp_release(filter);
    std::vector<sock_filter> program(static_cast<size_t>(::lseek(file, 0, SEEK_END)) /
                                     sizeof(sock_filter));
    const size_t size = program.size() * sizeof(sock_filter);
    check(::pread(file, program.data(), size, 0) == static_cast<ssize_t>(size) ? 0 : -1, "read");
    ::close(file);
    return program;
}

void print(const char* name, const std::vector<sock_filter>& program) {
    std::printf("constexpr sock_filter %s[] = {\n", name);
    for (const sock_filter& instruction : program) {
        std::printf("    {%#x, %u, %u, %#x},\n", instruction.code, instruction.jt, instruction.jf,
                    instruction.k);
    }
    std::printf("};\n");
}

}  // namespace
}  // namespace drupe::confine

int main() {
    using namespace drupe::confine;
    print("kMainFilter", compile(kM));
    print("kBlockFilter", compile(kB));
    print("kVcpuFilter", compile(kV));
    print("kReaderFilter", compile(kR));
    return std::ferror(stdout) != 0 || std::fflush(stdout) != 0 ? 1 : 0;
}
