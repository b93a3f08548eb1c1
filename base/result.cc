#include "base/result.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/check.h"

namespace drupe {

Error os_error(std::string what, int error_number) {
    ErrorCode code = ErrorCode::kIo;
    if (error_number == ENOENT) code = ErrorCode::kNotFound;
    if (error_number == EACCES || error_number == EPERM) code = ErrorCode::kDenied;
    if (error_number == EEXIST) code = ErrorCode::kConflict;
    const char* known = strerrordesc_np(error_number);
    const std::string why = known != nullptr ? known : "error " + std::to_string(error_number);
    return Error{code, std::move(what) + ": " + why, error_number};
}

Error os_error(std::string what) {
    return os_error(std::move(what), errno);
}

void check_failed(const char* condition, const char* file, int line) {
    std::fprintf(stderr, "drupe: internal error: %s does not hold at %s:%d\n", condition, file,
                 line);
    std::abort();
}

}  // namespace drupe
