#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace drupe::init {

/// The value of NAME in "NAME=value" strings; the last one counts, as in a shell's environment.
[[nodiscard]] const char* find_variable(const std::vector<std::string>& env, std::string_view name);

/// The file that `program` names: itself if it holds a slash, else the first executable of that
/// name in env's PATH (the usual directories if there is none). Judged with the rights of the
/// calling process. The error's text and os_errno are those that container users know: ENOENT,
/// EACCES, EISDIR.
[[nodiscard]] Result<std::string> find_program(const std::string& program,
                                               const std::vector<std::string>& env);

}  // namespace drupe::init
