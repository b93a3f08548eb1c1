#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <span>

namespace drupe::confine {

/// What can fail in a new process before it is another program, in this order.
enum class JailStep : uint8_t {
    kWait,
    kSession,
    kGroups,
    kGid,
    kUid,
    kNoNesting,
    kHostName,
    kOwnProcess,
    kPrivateMounts,
    kEmptyRoot,
    kPivot,
    kDetach,
    kDescriptors,
    kCloseOthers,
    kLimits,
    kSignals,
    kBoundingSet,
    kCapabilities,
    kNoNewPrivs,
    kExec,
};

/// What the new process tells its parent if it fails.
struct JailFailure {
    JailStep step;
    int error;
};

struct LimitToSet {
    int resource;
    rlimit value;
};

/// Everything that the new process needs, made before it exists: it must not allocate.
struct ChildPlan {
    int go_fd;       // a byte comes when the id maps are written; the end: the parent died
    int failure_fd;  // close-on-exec; a JailFailure goes there
    int executable_fd;
    char* const* argv;
    char* const* envp;
    uint32_t uid;
    uint32_t gid;
    const char* host_name;
    std::span<const int> needed;     // all of the above and `from` of those below; sorted
    std::span<struct FdMove> moves;  // sorted by `to`
    std::span<const LimitToSet> limits;
};

/// Stands for the child's own /proc/PID, which isn't there before it is.
inline constexpr int kOwnProcess = -1;

/// `from` becomes `to`; the child first moves it out of the way.
struct FdMove {
    int from;
    int to;
};

/// The new process's whole life until it executes its program. Only system calls: it was made by a
/// process that may have other threads.
[[noreturn]] void run_jail_child(ChildPlan plan);

}  // namespace drupe::confine
