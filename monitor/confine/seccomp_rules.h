#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace drupe::confine {

/// Threads that a rule is for: a bit a role.
enum RoleBits : uint8_t {
    kM = 1,
    kB = 2,
    kV = 4,
    kR = 8,
    kMB = kM | kB,
    kMBR = kMB | kR,
    kAll = kM | kB | kV | kR,
};

/// What an argument of a system call must be: `(argument & mask) == value`. The upper half of an
/// int argument is ignored by the kernel, and here.
struct Condition {
    unsigned argument;  ///< 0 to 5.
    uint64_t mask;
    uint64_t value;
};

/// One system call that is allowed, if all conditions hold. Several rules for a call add up.
struct Rule {
    int number;  ///< __NR_*
    uint8_t roles;
    const char* reason;
    std::vector<Condition> conditions = {};
    int refuse_with = 0;  ///< If not 0, the call isn't made and fails with this errno.
};

/// Stands for the process's own id, which isn't known when the filters are made: above every pid.
inline constexpr uint32_t kOwnProcess = 0x7fffff01;

/// The whole policy, in one table.
[[nodiscard]] std::span<const Rule> seccomp_rules();

}  // namespace drupe::confine
