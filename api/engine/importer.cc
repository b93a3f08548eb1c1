#include "api/engine/importer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/fd.h"
#include "base/json_reader.h"

namespace drupe::engine {
namespace {

constexpr size_t kMaxLineBytes = 64 << 10;
constexpr size_t kMaxNames = 4096;
constexpr int kAskMs = 500;

/// In memory: what is secret reaches no disk.
Result<Fd> input_file(const std::string& input) {
    if (input.empty()) return open_file("/dev/null", O_RDONLY);
    Fd file(::memfd_create("input", MFD_CLOEXEC));
    if (!file.valid()) return os_error("memfd_create");
    TRY(write_exact(file.get(), std::as_bytes(std::span(input)), 0));
    return file;
}

/// A child whose standard output is read; killed and reaped with the object.
class Child {
  public:
    static Result<Child> start(const std::string& program, std::vector<std::string> argv,
                               const std::string& input) {
        TRY_ASSIGN(FdPair pipe, make_pipe());
        TRY_ASSIGN(const Fd in, input_file(input));
        std::vector<char*> pointers;
        pointers.reserve(argv.size() + 1);
        for (std::string& word : argv) pointers.push_back(word.data());
        pointers.push_back(nullptr);
        posix_spawn_file_actions_t files;
        posix_spawn_file_actions_init(&files);
        posix_spawn_file_actions_adddup2(&files, in.get(), STDIN_FILENO);
        posix_spawn_file_actions_adddup2(&files, pipe.second.get(), STDOUT_FILENO);
        pid_t pid = -1;
        // A daemon's threads have signals blocked that the helper has to heed.
        posix_spawnattr_t attributes;
        posix_spawnattr_init(&attributes);
        sigset_t none;
        sigemptyset(&none);
        posix_spawnattr_setsigmask(&attributes, &none);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
        const int error =
            ::posix_spawn(&pid, program.c_str(), &files, &attributes, pointers.data(), environ);
        posix_spawnattr_destroy(&attributes);
        posix_spawn_file_actions_destroy(&files);
        if (error != 0) return os_error("start " + program, error);
        return Child(pid, std::move(pipe.first));
    }
    Child(Child&& other) noexcept
        : pid_(std::exchange(other.pid_, -1)), out_(std::move(other.out_)) {}
    Child& operator=(Child&&) = delete;
    ~Child() {
        if (pid_ < 0) return;
        ::kill(pid_, SIGKILL);
        static_cast<void>(wait());
    }
    [[nodiscard]] int out() const { return out_.get(); }
    /// Its status, as of waitpid(2).
    int wait() {
        int status = -1;
        while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
        }
        pid_ = -1;
        return status;
    }

  private:
    Child(pid_t pid, Fd out) : pid_(pid), out_(std::move(out)) {}
    pid_t pid_;
    Fd out_;
};

/// What the importer said, line by line.
struct Report {
    ImporterReport result;
    std::optional<Error> error;
};

Status read_layer(const nlohmann::json& value, const Watch& watch) {
    LayerProgress layer;
    JsonReader in(value);
    in.get("id", layer.id);
    in.get("state", layer.state);
    in.get("bytes", layer.bytes);
    in.get("total", layer.total_bytes);
    TRY(in.status());
    if (watch) watch(layer);
    return ok();
}

Status read_line(std::string_view line, Report& report, const ImporterTask& task) {
    TRY_ASSIGN(const auto value, parse_json(line, 3));
    std::string name;
    std::string progress;
    std::string error;
    uint8_t code = 0;
    JsonReader in(value);
    in.get("name", name);
    in.get("progress", progress);
    in.get("error", error);
    in.get("code", code);
    in.get("digest", report.result.digest);
    in.get("newer", report.result.is_newer);
    in.get("size", report.result.size_bytes);
    const auto* const layer = in.object("layer");
    TRY(in.status());
    if (layer != nullptr) {
        TRY(read_layer(*layer, task.watch));
    }
    if (!progress.empty() && task.say) task.say(progress);
    auto& names = report.result.names;
    if (!name.empty() && names.size() < kMaxNames) names.push_back(name);
    if (!error.empty()) {
        const bool known = code <= static_cast<uint8_t>(ErrorCode::kInternal);
        report.error = Error{known ? static_cast<ErrorCode>(code) : ErrorCode::kIo, error};
    }
    return ok();
}

}  // namespace

std::string credentials_json(const RegistryLogin& login) {
    return dump_json({{"user", login.user},
                      {"password", login.password},
                      {"identity_token", login.identity_token}});
}

Result<ImporterReport> run_importer(const std::string& program, const std::string& root,
                                    const ImporterTask& task) {
    if (program.empty()) {
        return Error{ErrorCode::kNotFound,
                     "found no drupe-import beside this program: build it, "
                     "or name it in $DRUPE_IMPORT"};
    }
    std::vector<std::string> argv{"drupe-import", root};
    argv.insert(argv.end(), task.arguments.begin(), task.arguments.end());
    TRY_ASSIGN(Child child, Child::start(program, std::move(argv), task.input));
    Report report;
    std::string buffer;
    std::string chunk(kMaxLineBytes, '\0');
    for (;;) {
        pollfd poll{child.out(), POLLIN, 0};
        const bool quiet = task.cancelled && ::poll(&poll, 1, kAskMs) <= 0;
        if (task.cancelled && task.cancelled()) {
            return Error{ErrorCode::kConflict, "given up: nobody waits for it any more"};
        }
        if (quiet) continue;
        const ssize_t n = ::read(child.out(), chunk.data(), chunk.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_error("read from drupe-import");
        if (n == 0) break;
        buffer.append(chunk, 0, static_cast<size_t>(n));
        for (size_t end = 0; (end = buffer.find('\n')) != std::string::npos;) {
            TRY(read_line(std::string_view(buffer).substr(0, end), report, task));
            buffer.erase(0, end + 1);
        }
        if (buffer.size() > kMaxLineBytes) {
            return Error{ErrorCode::kCorrupt, "drupe-import said something too long"};
        }
    }
    const int status = child.wait();
    if (report.error) return std::move(*report.error);
    if (status != 0) {
        return Error{ErrorCode::kIo, fmt::format("drupe-import ended with status {:#x} without "
                                                 "saying why",
                                                 status)};
    }
    return std::move(report.result);
}

Result<std::vector<std::string>> run_importer(const std::string& program, const std::string& root,
                                              const std::vector<std::string>& arguments,
                                              const Say& say) {
    TRY_ASSIGN(auto report, run_importer(program, root, ImporterTask{arguments, {}, say, {}}));
    return std::move(report.names);
}

}  // namespace drupe::engine
