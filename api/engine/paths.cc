#include "api/engine/paths.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <initializer_list>

namespace drupe::engine {
namespace {

constexpr const char* kDefaultRoot = "/var/lib/drupe";
constexpr const char* kDefaultRun = "/run/drupe";

std::string from_environment(const char* name) {
    const char* value = ::getenv(name);
    return value == nullptr ? "" : value;
}

/// The first that exists; a set variable wins, whether its file exists or not.
std::string locate(const char* variable, std::initializer_list<std::string> places) {
    std::string named = from_environment(variable);
    if (!named.empty()) return named;
    for (const std::string& place : places) {
        if (::access(place.c_str(), R_OK) == 0) return place;
    }
    return "";
}

Result<std::string> absolute(std::string path) {
    if (path.starts_with('/')) return path;
    std::array<char, PATH_MAX> here{};
    if (::getcwd(here.data(), here.size()) == nullptr) return os_error("getcwd");
    return std::string(here.data()) + "/" + path;
}

}  // namespace

Result<Paths> find_paths() {
    std::array<char, PATH_MAX> self{};
    const ssize_t size = ::readlink("/proc/self/exe", self.data(), self.size() - 1);
    if (size < 0) return os_error("readlink /proc/self/exe");
    std::string folder(self.data(), static_cast<size_t>(size));
    folder.erase(folder.find_last_of('/'));

    Paths paths;
    const std::string root = from_environment("DRUPE_ROOT");
    TRY_ASSIGN(paths.root, absolute(root.empty() ? kDefaultRoot : root));
    const std::string run = from_environment("DRUPE_RUN");
    if (!run.empty()) {
        TRY_ASSIGN(paths.run, absolute(run));
    } else {
        paths.run = paths.root == kDefaultRoot ? kDefaultRun : paths.root + "/run";
    }
    const std::string share = folder + "/../share/drupe";
    // In a build tree programs are in build/PRESET/bin, the kernel is in build/kernel.
    paths.monitor =
        locate("DRUPE_VMM", {folder + "/drupe-vmm", folder + "/../lib/drupe/drupe-vmm"});
    paths.importer =
        locate("DRUPE_IMPORT", {folder + "/drupe-import", folder + "/../lib/drupe/drupe-import"});
    paths.exporter =
        locate("DRUPE_EXPORT", {folder + "/drupe-export", folder + "/../lib/drupe/drupe-export"});
    paths.initrd = locate("DRUPE_INITRD", {folder + "/initramfs.cpio", share + "/initramfs.cpio"});
    paths.kernel = locate("DRUPE_KERNEL", {share + "/vmlinux", folder + "/../../kernel/vmlinux",
                                           "/usr/share/drupe/vmlinux"});
    paths.busybox = locate("DRUPE_BUSYBOX", {share + "/busybox", "/bin/busybox"});
    return paths;
}

Status make_folders(const std::string& path, unsigned mode) {
    if (::mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return ok();
    if (errno != ENOENT) return os_error("mkdir " + path);
    const size_t slash = path.find_last_of('/');
    if (slash == std::string::npos || slash == 0) return os_error("mkdir " + path, ENOENT);
    TRY(make_folders(path.substr(0, slash), mode));
    if (::mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return ok();
    return os_error("mkdir " + path);
}

}  // namespace drupe::engine
