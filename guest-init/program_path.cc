#include "guest-init/program_path.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace drupe::init {
namespace {

constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// 0 if path can be executed, else why not.
int check_executable(const std::string& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) < 0) return errno;
    if (S_ISDIR(status.st_mode)) return EISDIR;
    return ::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) < 0 ? EACCES : 0;
}

Error refusal(const std::string& program, std::string_view why, int error) {
    return Error{ErrorCode::kNotFound, "exec: \"" + program + "\": " + std::string(why), error};
}

}  // namespace

const char* find_variable(const std::vector<std::string>& env, std::string_view name) {
    for (auto entry = env.rbegin(); entry != env.rend(); ++entry)
        if (entry->size() > name.size() && entry->compare(0, name.size(), name) == 0 &&
            (*entry)[name.size()] == '=')
            return entry->c_str() + name.size() + 1;
    return nullptr;
}

Result<std::string> find_program(const std::string& program, const std::vector<std::string>& env) {
    if (program.find('/') != std::string::npos) {
        switch (const int error = check_executable(program)) {
            case 0:
                return program;
            case EISDIR:
                return refusal(program, "is a directory", error);
            case EACCES:
                return refusal(program, "permission denied", error);
            case ENOENT:
            case ENOTDIR:
                return refusal(program, "stat " + program + ": no such file or directory", ENOENT);
            default:
                return refusal(program, os_error("stat " + program, error).message, error);
        }
    }
    const char* variable = find_variable(env, "PATH");
    std::string_view path = variable != nullptr ? variable : kDefaultPath;
    while (!program.empty() && !path.empty()) {
        const size_t end = path.find(':');
        std::string candidate(path.substr(0, end));
        path.remove_prefix(end == std::string_view::npos ? path.size() : end + 1);
        if (candidate.empty()) candidate = ".";
        candidate += '/';
        candidate += program;
        if (check_executable(candidate) == 0) return candidate;
    }
    return refusal(program, "executable file not found in $PATH", ENOENT);
}

}  // namespace drupe::init
