#include "api/endpoints/start_error.h"

#include <fmt/format.h>

#include <cerrno>

namespace drupe::endpoints {
namespace {

constexpr uint32_t kNotFound = 127;
constexpr uint32_t kNotExecutable = 126;
constexpr uint32_t kFailed = 125;

std::string reason_of(uint32_t exit_code, const std::string& program, const std::string& why) {
    const bool path = program.find('/') != std::string::npos;
    if (exit_code == kNotFound) {
        return fmt::format("exec: \"{}\": {}", program,
                           path ? "stat " + program + ": no such file or directory"
                                : "executable file not found in $PATH");
    }
    if (exit_code == kNotExecutable) {
        return fmt::format("exec: \"{}\": {}", program,
                           why.find("xec format") == std::string::npos
                               ? "permission denied"
                               : "exec format error: permission denied");
    }
    return why;
}

}  // namespace

Error explain_start(const engine::Container& container, const ExitRecord& record) {
    const auto argv = argv_of(container.config);
    if (record.error.starts_with("unable to find ")) {  // a user or a group
        return Error{ErrorCode::kInvalid, record.error};
    }
    return Error{ErrorCode::kInvalid,
                 "failed to create task for container: unable to start container process: " +
                     reason_of(record.status, argv.empty() ? "" : argv.front(), record.error)};
}

uint32_t exec_exit_code(const Error& error) {
    if (error.message.starts_with("unable to find ")) return kNotExecutable;  // a user
    switch (error.os_errno) {
        case ENOENT:
        case ENOTDIR:
            return kNotFound;
        case EACCES:
        case EISDIR:
        case ENOEXEC:
        case EPERM:
            return kNotExecutable;
        default:
            return kFailed;
    }
}

std::string explain_exec(const std::string& program, const Error& error) {
    if (error.message.starts_with("unable to find ")) return error.message;
    return "exec failed: unable to start container process: " +
           reason_of(exec_exit_code(error), program, error.message);
}

}  // namespace drupe::endpoints
