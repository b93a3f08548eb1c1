#include "guest-init/builtin.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>

#include "archive/pack.h"
#include "archive/paths.h"
#include "archive/unpack.h"
#include "base/fd.h"
#include "guest-init/cgroup.h"
#include "guest-init/process_list.h"

namespace drupe::init {
namespace {

using protocol::Builtin;

constexpr int kMaxLinks = 40;  // as the kernel

struct Free {
    void operator()(char* text) const { std::free(text); }
};

/// The folder's path without links, if it is there.
std::string real_folder(const std::string& path) {
    const std::unique_ptr<char, Free> real(::realpath(path.c_str(), nullptr));
    return real == nullptr ? archive::clean(path) : std::string(real.get());
}

/// Where a symbolic link leads in the end, whether there is something or not.
std::string link_target(std::string path) {
    for (int i = 0; i < kMaxLinks; ++i) {
        const archive::SplitPath split = archive::split_entry(path);
        path = real_folder(split.folder);
        if (!path.ends_with('/')) path += '/';
        const std::string folder = path;
        path += split.base;
        std::array<char, PATH_MAX> target{};
        const ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
        if (size < 0) break;
        const std::string_view text(target.data(), static_cast<size_t>(size));
        path = text.starts_with('/') ? std::string(text) : folder + std::string(text);
    }
    return archive::clean(path);
}

Result<std::string> stat_path(const std::string& path) {
    struct stat status {};
    const bool follow = archive::asserts_folder(path);
    if (::fstatat(AT_FDCWD, path.c_str(), &status, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0)
        return os_error("stat " + path);
    protocol::PathStat out;
    out.name = archive::base_name(path);
    out.size = static_cast<uint64_t>(status.st_size);
    out.mode = status.st_mode;
    out.mtime_s = status.st_mtim.tv_sec;
    out.mtime_ns = static_cast<uint32_t>(status.st_mtim.tv_nsec);
    if (S_ISLNK(status.st_mode)) out.link_target = link_target(path);
    return protocol::encode(out);
}

Status hold() {
    std::array<char, 512> ignored{};
    for (;;) {
        const ssize_t n = ::read(STDIN_FILENO, ignored.data(), ignored.size());
        if (n < 0 && errno == EINTR) continue;
        return n < 0 ? Status(os_error("read")) : ok();
    }
}

Status unpack(const protocol::Start& order) {
    const auto asked = [&](const char* word) {
        return std::find(order.argv.begin() + 1, order.argv.end(), word) != order.argv.end();
    };
    const Fd folder(::open(order.argv[0].c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder.valid()) return os_error("open folder " + order.argv[0]);
    archive::UnpackOptions options;
    options.keep_owner = asked("keep-owner");
    options.no_overwrite_dir_non_dir = !asked("overwrite");
    options.trusted = true;  // by the host; the container can be harmed by itself anyway
    TRY(archive::unpack(STDIN_FILENO, folder.get(), options));
    return ok();
}

Status write_out(const std::string& text) {
    return write_all(STDOUT_FILENO, std::as_bytes(std::span(text)));
}

/// This process counts itself: it is in the container's cgroup.
protocol::Usage usage_without_us(int cgroup) {
    protocol::Usage usage = read_usage(cgroup);
    if (usage.processes > 0) --usage.processes;
    return usage;
}

Status run(const protocol::Start& order, int cgroup) {
    const std::string& path = order.argv[0];
    switch (order.builtin) {
        case Builtin::kNone:
            break;
        case Builtin::kHold:
            return hold();
        case Builtin::kStat: {
            TRY_ASSIGN(const std::string text, stat_path(path));
            return write_out(text);
        }
        case Builtin::kPack: {
            const std::string name = archive::base_name(path);
            TRY(archive::pack(path, name == "/" ? "." : name, STDOUT_FILENO));
            return ok();
        }
        case Builtin::kUnpack:
            return unpack(order);
        case Builtin::kProcesses:
            return write_out(protocol::encode(list_processes()));
        case Builtin::kUsage:
            return write_out(protocol::encode(usage_without_us(cgroup)));
    }
    return Error{ErrorCode::kInvalid, "no such builtin", EINVAL};
}

}  // namespace

void run_builtin(const protocol::Start& order, int cgroup) {
    ::signal(SIGPIPE, SIG_IGN);
    ::umask(0);
    const Status done = run(order, cgroup);
    if (done) ::_exit(0);
    // A tar that isn't one comes without an errno.
    const std::string why = protocol::encode(
        protocol::BuiltinError{.error = done.error().os_errno > 0 ? done.error().os_errno : EBADMSG,
                               .message = done.error().message});
    [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, why.data(), why.size());
    ::_exit(1);
}

}  // namespace drupe::init
