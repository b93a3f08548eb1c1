#include "api/engine/disk_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/json_reader.h"
#include "monitor/confine/jail.h"

namespace drupe::engine {
namespace {

constexpr int kFirstDescriptor = 3;
constexpr size_t kMaxErrorBytes = 16 << 10;
constexpr size_t kMaxPathBytes = 128 << 10;
/// A directory's names and a file's extents are held at a time; imagefs/guestfs bounds them.
constexpr uint64_t kMemoryBytes = uint64_t{2} << 30;
constexpr uint64_t kStackBytes = 16 << 20;  // The walk goes as deep as the directories.

/// A second description of an open file, which can't be written to.
Result<Fd> to_read(const Fd& file) {
    return open_file(fmt::format("/proc/self/fd/{}", file.get()), O_RDONLY);
}

/// The helper, and what it says. Killed and reaped with the object.
class Helper final : public imagefs::ByteSource {
  public:
    static Result<std::unique_ptr<Helper>> start(const std::string& program, const char* what,
                                                 imagefs::DiskFiles before,
                                                 imagefs::DiskFiles after) {
        if (program.empty()) {
            return Error{ErrorCode::kNotFound,
                         "found no drupe-export beside this program: build it, or name it in "
                         "$DRUPE_EXPORT"};
        }
        std::unique_ptr<Helper> helper(new Helper(std::move(before), std::move(after)));
        TRY(helper->launch(program, what));
        return helper;
    }
    Helper(const Helper&) = delete;
    Helper& operator=(const Helper&) = delete;
    ~Helper() override {
        if (pid_ < 0) return;
        ::kill(pid_, SIGKILL);
        static_cast<void>(reap());
    }

    Result<size_t> read(std::span<std::byte> out) override {
        if (ended_) return size_t{0};
        for (;;) {
            const ssize_t n = ::read(output_.get(), out.data(), out.size());
            if (n > 0) return static_cast<size_t>(n);
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return os_error("read from drupe-export");
            TRY(finish());
            ended_ = true;
            return size_t{0};
        }
    }

  private:
    Helper(imagefs::DiskFiles before, imagefs::DiskFiles after)
        : before_(std::move(before)), after_(std::move(after)) {}

    Status launch(const std::string& program, const char* what) {
        TRY_ASSIGN(const Fd executable, open_file(program, O_RDONLY));
        TRY_ASSIGN(const Fd null, open_file("/dev/null", O_RDONLY));
        TRY_ASSIGN(FdPair output, make_pipe());
        TRY_ASSIGN(FdPair error, make_pipe());
        confine::JailSpec jail;
        jail.fds = {{null.get(), STDIN_FILENO},
                    {output.second.get(), STDOUT_FILENO},
                    {error.second.get(), STDERR_FILENO}};
        const auto give = [&](const Fd& fd) {
            const int target = kFirstDescriptor + static_cast<int>(jail.fds.size()) - 3;
            jail.fds.push_back({fd.get(), target});
        };
        std::vector<Fd> top;
        for (const imagefs::DiskFiles* files : {&before_, &after_}) {
            give(files->index);
            for (const Fd& layer : files->layers) give(layer);
        }
        for (const Fd* file : {&after_.top_data, &after_.top_meta}) {
            if (!file->valid()) continue;
            TRY_ASSIGN(Fd readable, to_read(*file));
            top.push_back(std::move(readable));
            give(top.back());
        }
        jail.executable_fd = executable.get();
        jail.argv = {"drupe-export", what, std::to_string(before_.layers.size()),
                     std::to_string(after_.layers.size()), top.empty() ? "0" : "1"};
        jail.uid = jail.gid = kReaderUid;
        jail.limits.file_bytes = 0;
        jail.limits.data_bytes = kMemoryBytes;
        jail.limits.stack_bytes = kStackBytes;
        TRY_ASSIGN(const auto process, confine::launch(jail));
        pid_ = process.pid;
        output_ = std::move(output.first);
        error_ = std::move(error.first);
        return ok();
    }

    int reap() {
        int status = -1;
        while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
        }
        pid_ = -1;
        return status;
    }

    /// After the end of its output: success, or what it died of.
    Status finish() {
        auto said = read_all(error_.get(), kMaxErrorBytes);
        if (!said) ::kill(pid_, SIGKILL);
        const int status = reap();
        if (said && WIFEXITED(status) && WEXITSTATUS(status) == 0) return ok();
        if (said && WIFEXITED(status) && WEXITSTATUS(status) == 1) {
            TRY_ASSIGN(const auto value, parse_json(said.value(), 3));
            std::string message;
            uint8_t code = 0;
            JsonReader in(value);
            in.get("error", message);
            in.get("code", code);
            TRY(in.status());
            const bool known = code <= static_cast<uint8_t>(ErrorCode::kInternal);
            return Error{known ? static_cast<ErrorCode>(code) : ErrorCode::kIo, std::move(message)};
        }
        return Error{ErrorCode::kCorrupt,
                     fmt::format("drupe-export, which reads the container's disk, {} {}: the "
                                 "disk's file system may be damaged",
                                 WIFSIGNALED(status) ? "was ended by signal" : "ended with status",
                                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status))};
    }

    imagefs::DiskFiles before_;  // for their locks
    imagefs::DiskFiles after_;
    pid_t pid_ = -1;
    Fd output_;
    Fd error_;
    bool ended_ = false;
};

}  // namespace

Result<std::unique_ptr<imagefs::ByteSource>> DiskReader::layer_tar(imagefs::DiskFiles before,
                                                                   imagefs::DiskFiles after) const {
    TRY_ASSIGN(auto helper, Helper::start(program_, "tar", std::move(before), std::move(after)));
    return std::unique_ptr<imagefs::ByteSource>(std::move(helper));
}

Status DiskReader::diff(
    imagefs::DiskFiles before, imagefs::DiskFiles after,
    const std::function<Status(char kind, std::string_view path)>& visit) const {
    TRY_ASSIGN(const auto helper,
               Helper::start(program_, "diff", std::move(before), std::move(after)));
    std::string pending;
    std::vector<std::byte> buffer(64 << 10);
    for (;;) {
        TRY_ASSIGN(const size_t got, helper->read(buffer));
        if (got == 0) break;
        pending.append(reinterpret_cast<const char*>(buffer.data()), got);
        size_t at = 0;
        for (size_t end = 0; (end = pending.find('\0', at)) != std::string::npos; at = end + 1) {
            const std::string_view record = std::string_view(pending).substr(at, end - at);
            if (record.size() < 2 || std::strchr("ACD", record[0]) == nullptr) {
                return Error{ErrorCode::kCorrupt, "drupe-export said something else than changes"};
            }
            TRY(visit(record[0], record.substr(1)));
        }
        pending.erase(0, at);
        if (pending.size() > kMaxPathBytes) {
            return Error{ErrorCode::kCorrupt, "drupe-export said something too long"};
        }
    }
    if (pending.empty()) return ok();
    return Error{ErrorCode::kCorrupt, "drupe-export stopped in the middle of a change"};
}

}  // namespace drupe::engine
