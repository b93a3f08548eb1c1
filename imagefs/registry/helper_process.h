#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace drupe::imagefs::registry {

struct ProcessOutput {
    int status = 0;  ///< Its exit code; 128 + signal if one ended it.
    std::string out;
};

/// Runs a program (found in $PATH) with `input` on its standard input; its standard error is ours.
/// It gets timeout_ms and may print max_bytes (kLimit: it is killed). kNotFound: there is no such
/// program.
[[nodiscard]] Result<ProcessOutput> run_process(const std::vector<std::string>& argv,
                                                const std::string& input, int timeout_ms,
                                                size_t max_bytes);

}  // namespace drupe::imagefs::registry
