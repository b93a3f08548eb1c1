#include "cli/unpack_child.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/codec.h"

namespace drupe::cli {
namespace {

constexpr rlim_t kMemoryBytes = 512 << 20;
constexpr size_t kMaxReportBytes = 64 << 10;
constexpr size_t kMaxMessageBytes = 4096;
// Descriptors of the child.
constexpr int kTar = 3;
constexpr int kFolder = 4;
constexpr int kReport = 5;

Status keep_capabilities() {
    constexpr uint32_t kKept = 1U << CAP_CHOWN | 1U << CAP_DAC_OVERRIDE | 1U << CAP_FOWNER;
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return os_error("set no_new_privs");
    for (int capability = 0; capability <= 63; ++capability) {
        if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EINVAL)
            return os_error("drop a capability");
    }
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    __user_cap_data_struct data[2]{};
    data[0].effective = data[0].permitted = kKept;
    if (::syscall(SYS_capset, &header, data) < 0) return os_error("drop capabilities");
    return ok();
}

/// The folder becomes all there is.
Status confine() {
    if (::fchdir(kFolder) < 0 || ::chroot(".") < 0) return os_error("enter the destination");
    const rlimit memory{.rlim_cur = kMemoryBytes, .rlim_max = kMemoryBytes};
    if (::setrlimit(RLIMIT_DATA, &memory) < 0) return os_error("limit memory");
    return keep_capabilities();
}

Result<archive::Unpacked> work(const archive::UnpackOptions& options) {
    TRY(confine());
    return archive::unpack(kTar, kFolder, options);
}

/// Moves descriptors to where the child has them, and closes all others but standard error.
bool take_descriptors(int tar, int folder, int report) {
    const int high[3] = {::fcntl(tar, F_DUPFD, 16), ::fcntl(folder, F_DUPFD, 16),
                         ::fcntl(report, F_DUPFD, 16)};
    return ::dup2(high[0], kTar) >= 0 && ::dup2(high[1], kFolder) >= 0 &&
           ::dup2(high[2], kReport) >= 0 && ::close_range(kReport + 1, ~0U, 0) == 0 &&
           ::close_range(0, 1, 0) == 0;
}

[[noreturn]] void be_child(int tar, int folder, int report, const archive::UnpackOptions& options) {
    if (!take_descriptors(tar, folder, report)) ::_exit(2);
    ::umask(0);
    const auto done = work(options);
    Encoder out;
    out.put(static_cast<uint8_t>(done ? 1 : 0));
    out.put(done ? done.value().bytes : 0);
    out.put(done ? done.value().skipped : 0);
    out.put(static_cast<uint8_t>(done ? ErrorCode::kIo : done.error().code));
    out.put_bytes(done ? "" : std::string_view(done.error().message).substr(0, kMaxMessageBytes));
    [[maybe_unused]] const ssize_t ignored =
        ::write(kReport, out.bytes().data(), out.bytes().size());
    ::_exit(0);
}

Result<archive::Unpacked> parse(std::string_view report) {
    Decoder in(report);
    const bool worked = in.get<uint8_t>() == 1;
    archive::Unpacked out;
    out.bytes = in.get<uint64_t>();
    out.skipped = in.get<uint64_t>();
    const auto code = in.get<uint8_t>();
    std::string message(in.get_bytes(kMaxMessageBytes));
    if (!in.at_end() || code > static_cast<uint8_t>(ErrorCode::kInternal))
        return Error{ErrorCode::kCorrupt, "the process that unpacks the archive died"};
    if (worked) return out;
    for (char& c : message) {  // names in it are the guest's
        if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
    }
    return Error{static_cast<ErrorCode>(code), std::move(message)};
}

}  // namespace

Result<archive::Unpacked> unpack_in_child(Fd tar, const std::string& folder,
                                          const archive::UnpackOptions& options) {
    TRY_ASSIGN(const Fd destination, open_file(folder, O_RDONLY | O_DIRECTORY));
    TRY_ASSIGN(FdPair report, make_pipe());
    const pid_t pid = ::fork();
    if (pid < 0) return os_error("fork");
    if (pid == 0) be_child(tar.get(), destination.get(), report.second.get(), options);
    tar.reset();
    report.second.reset();
    const auto said = read_all(report.first.get(), kMaxReportBytes);
    if (!said) ::kill(pid, SIGKILL);
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return parse(said ? said.value() : "");
}

}  // namespace drupe::cli
