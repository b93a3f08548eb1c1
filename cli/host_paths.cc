#include "cli/host_paths.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>

namespace drupe::cli {
namespace {

constexpr int kMaxLinks = 10;

struct Free {
    void operator()(char* text) const { std::free(text); }
};

Result<std::string> real_path(const std::string& path) {
    const std::unique_ptr<char, Free> real(::realpath(path.c_str(), nullptr));
    if (real == nullptr) return os_error("stat " + path);
    return std::string(real.get());
}

Result<struct stat> lstat_path(const std::string& path) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) < 0) return os_error("lstat " + path);
    return status;
}

}  // namespace

Result<std::string> absolute_path(const std::string& path) {
    if (path.starts_with('/')) return archive::clean_like(path, path);
    const std::unique_ptr<char, Free> folder(::getcwd(nullptr, 0));
    if (folder == nullptr) return os_error("find the current folder");
    return archive::clean_like(std::string(folder.get()) + "/" + path, path);
}

Result<archive::CopyEnd> find_source(const std::string& path, bool follow) {
    archive::CopyEnd end;
    end.exists = true;
    if (follow) {
        TRY_ASSIGN(end.path, real_path(path));
        end.name = archive::rebase_name(path, end.path);
    } else {
        const size_t slash = path.rfind('/');
        TRY_ASSIGN(std::string folder, real_path(path.substr(0, slash + 1)));
        if (!folder.ends_with('/')) folder += '/';
        end.path = folder + path.substr(slash + 1);
        if (archive::has_trailing_slash(path) &&
            archive::base_name(path) != archive::base_name(end.path))
            end.name = archive::base_name(path);
    }
    TRY_ASSIGN(const struct stat status, lstat_path(end.path));
    end.is_folder = S_ISDIR(status.st_mode);
    return end;
}

Result<archive::CopyEnd> find_destination(const std::string& path) {
    archive::CopyEnd end;
    end.path = path;
    auto status = lstat_path(end.path);
    for (int i = 0; status && S_ISLNK(status.value().st_mode); ++i) {
        if (i >= kMaxLinks) return os_error("stat " + path, ELOOP);
        std::array<char, PATH_MAX> target{};
        const ssize_t size = ::readlink(end.path.c_str(), target.data(), target.size());
        if (size < 0) return os_error("read link " + end.path);
        const std::string text(target.data(), static_cast<size_t>(size));
        end.path = text.starts_with('/')
                       ? text
                       : archive::clean(archive::split_entry(end.path).folder + "/" + text);
        status = lstat_path(end.path);
    }
    if (status) {
        end.exists = true;
        end.is_folder = S_ISDIR(status.value().st_mode);
        return end;
    }
    if (status.error().os_errno != ENOENT) return std::move(status).error();
    struct stat parent {};
    const std::string folder = archive::split_entry(end.path).folder;
    if (::stat(folder.c_str(), &parent) < 0)
        return Error{ErrorCode::kNotFound,
                     "invalid output path: directory \"" + folder + "\" does not exist", ENOENT};
    if (!S_ISDIR(parent.st_mode)) return os_error(folder, ENOTDIR);
    return end;
}

}  // namespace drupe::cli
