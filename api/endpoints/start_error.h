#pragma once

#include "api/engine/container.h"
#include "monitor/exit_record.h"

namespace drupe::endpoints {

/// Why a container can't be started, in words by which clients tell exit codes apart: "executable
/// file not found" is 127, "permission denied" 126.
[[nodiscard]] Error explain_start(const engine::Container& container, const ExitRecord& record);
/// The same of an exec, whose Error has an os_errno.
[[nodiscard]] std::string explain_exec(const std::string& program, const Error& error);
/// Docker's exit code of a program that can't be started: 127, 126 or 125.
[[nodiscard]] uint32_t exec_exit_code(const Error& error);

}  // namespace drupe::endpoints
