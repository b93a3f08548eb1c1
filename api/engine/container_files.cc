// The files of containers: builtins of drupe-init, run as execs. A container that doesn't run gets
// a machine whose workload only waits for the end of its input, which is ours to close: when this
// process dies the machine halts by itself.

#include "api/engine/container_files.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "archive/paths.h"

namespace drupe::engine {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kStartTimeout{60'000};
constexpr milliseconds kSignalTimeout{5'000};
constexpr int kHaltTimeoutMs = 40'000;  // the monitor's own limit is 30 s
constexpr int kEndTimeoutMs = 20'000;
constexpr size_t kMaxRecordBytes = 256 << 10;

ErrorCode code_of(int os_errno) {
    switch (os_errno) {
        case ENOENT:
            return ErrorCode::kNotFound;
        case EEXIST:
        case ENOTDIR:
        case EISDIR:
        case EROFS:
        case ENOTEMPTY:
            return ErrorCode::kConflict;
        case EBADMSG:
            return ErrorCode::kCorrupt;
        case EINVAL:
        case ENAMETOOLONG:
        case ELOOP:
            return ErrorCode::kInvalid;
        case EACCES:
        case EPERM:
            return ErrorCode::kDenied;
        case ENOSPC:
        case EDQUOT:
            return ErrorCode::kLimit;
        default:
            return ErrorCode::kIo;
    }
}

/// What a guest wrote, for a terminal: no control characters.
std::string printable(std::string text) {
    for (char& c : text) {
        if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
    }
    return text;
}

/// At most max bytes, and whether there were more; whoever writes isn't waited for after those.
std::string read_up_to(int fd, size_t max) {
    std::string text;
    std::array<char, 4096> buffer{};
    while (text.size() <= max) {
        const ssize_t n = ::read(fd, buffer.data(), buffer.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        text.append(buffer.data(), static_cast<size_t>(n));
    }
    return text;
}

}  // namespace

FileStream::~FileStream() {
    if (!finished_ && client_.fd() >= 0) cancel();
}

void FileStream::cancel() {
    control::Request kill;
    kill.op = control::Op::kSignal;
    kill.session = session_;
    kill.signal = SIGKILL;
    static_cast<void>(client_.call(std::move(kill), kSignalTimeout));  // it may have ended
}

Status FileStream::finish() {
    finished_ = true;
    data_.reset();
    const std::string said = read_up_to(error_.get(), protocol::kMaxBuiltinErrorBytes);
    error_.reset();
    control::Request wait;
    wait.op = control::Op::kWait;
    wait.session = session_;
    TRY_ASSIGN(const auto reply, client_.call(std::move(wait)));
    if (!reply.exit) return Error{ErrorCode::kCorrupt, "the monitor didn't say how the copy ended"};
    if (reply.exit->status == 0) return ok();
    auto error = protocol::decode<protocol::BuiltinError>(said);
    if (error) return Error{code_of(error->error), printable(error->message), error->error};
    return Error{ErrorCode::kCorrupt,
                 fmt::format("the copy ended in the container with status {}", reply.exit->status)};
}

ContainerFiles::~ContainerFiles() {
    static_cast<void>(close());
}

Error ContainerFiles::explain(Error error, const std::string& path) const {
    if (error.os_errno == ENOENT) {
        error.message =
            fmt::format("Could not find the file {} in container {}", path, container_.name);
    }
    return error;
}

Result<FileStream> ContainerFiles::run(protocol::Builtin builtin, std::vector<std::string> argv) {
    const bool writes = builtin == protocol::Builtin::kUnpack;
    TRY_ASSIGN(FdPair data, make_pipe());
    TRY_ASSIGN(FdPair error, make_pipe());
    control::Request request;
    request.op = control::Op::kExec;
    request.start.argv = std::move(argv);
    request.start.builtin = builtin;
    request.start.stdin_open = writes;
    (writes ? request.stdio.stdin_fd : request.stdio.stdout_fd) =
        std::move(writes ? data.first : data.second);
    request.stdio.stderr_fd = std::move(error.second);
    TRY_ASSIGN(ControlClient client, engine_.connect(container_.id));
    TRY_ASSIGN(const auto reply, client.call(std::move(request), kStartTimeout));
    return FileStream(std::move(client), reply.session,
                      std::move(writes ? data.second : data.first), std::move(error.first));
}

Result<protocol::PathStat> ContainerFiles::stat(const std::string& path) {
    const std::string place = archive::container_path(path);
    TRY_ASSIGN(FileStream stream, run(protocol::Builtin::kStat, {place}));
    const std::string text = read_up_to(stream.data(), protocol::kMaxPathStatBytes);
    if (auto done = stream.finish(); !done) return explain(std::move(done).error(), path);
    const auto stat = protocol::decode<protocol::PathStat>(text);
    if (!stat) return Error{ErrorCode::kCorrupt, "the guest didn't say what is at " + path};
    return *stat;
}

Result<FileStream> ContainerFiles::get(const std::string& path) {
    return run(protocol::Builtin::kPack, {archive::container_path(path)});
}

Result<FileStream> ContainerFiles::put(const std::string& path, const PutOptions& options) {
    if (container_.config.read_only)
        return Error{ErrorCode::kConflict, "container rootfs is marked read-only", EROFS};
    std::vector<std::string> argv{archive::container_path(path)};
    if (options.copy_uid_gid) argv.emplace_back("keep-owner");
    if (!options.no_overwrite_dir_non_dir) argv.emplace_back("overwrite");
    return run(protocol::Builtin::kUnpack, std::move(argv));
}

Status ContainerFiles::start_machine(ContainerLock lock) {
    TRY_ASSIGN(const bool gone, await_monitor_end(engine_.run_dir(container_), kEndTimeoutMs));
    if (!gone) return Error{ErrorCode::kConflict, "its monitor still runs: use rm -f, or wait"};
    TRY(engine_.launcher_.release(container_.id));
    lock_ = std::move(lock);
    container_.step = Step::kCopying;
    TRY(engine_.table_.update(container_));
    engine_.step("copying");
    TRY_ASSIGN(FdPair input, make_pipe());
    auto machine = engine_.launch_for_files(container_, std::move(input.first));
    if (!machine) {
        static_cast<void>(engine_.end_for_files(container_));  // the first error is what matters
        lock_.reset();
        return std::move(machine).error();
    }
    hold_ = std::move(input.second);
    machine_ = std::move(machine).value();
    TRY_ASSIGN(const bool started, engine_.await_started(*machine_));
    if (started) return ok();
    TRY(close());
    return Error{ErrorCode::kIo, "the container's machine didn't start"};
}

Status ContainerFiles::close() {
    if (!lock_ || !machine_) return ok();
    hold_.reset();
    machine_.reset();
    Status ended = engine_.end_for_files(container_);
    const std::string path = engine_.options_.paths.files_exit_record(container_.id);
    const auto text = read_file(path, kMaxRecordBytes);
    lock_.reset();
    TRY(std::move(ended));
    const auto record = parse_exit_record(text ? text.value() : "");
    if (record && record.value().reason == "exited" && record.value().error.empty()) return ok();
    const std::string why = record ? printable(record.value().error) : "it left no record";
    return Error{ErrorCode::kIo,
                 "the machine that was started for the copy didn't end well: " + why};
}

Status Engine::end_for_files(Container& container) {
    TRY_ASSIGN(const bool gone, await_monitor_end(run_dir(container), kHaltTimeoutMs));
    if (!gone) {
        TRY(force_end(container.id));
    }
    TRY(launcher_.release(container.id));
    container.step = Step::kNone;
    TRY(table_.update(container));
    return ok();
}

Result<std::unique_ptr<ContainerFiles>> Engine::open_files(std::string_view query) {
    TRY_ASSIGN(Container found, find(query));
    const auto runs = [](const Container& c) {
        return c.state == State::kRunning || c.state == State::kPaused;
    };
    if (runs(found))
        return std::unique_ptr<ContainerFiles>(new ContainerFiles(*this, std::move(found)));
    TRY_ASSIGN(Locked held, lock_container(found.id));
    std::unique_ptr<ContainerFiles> files(new ContainerFiles(*this, std::move(held.container)));
    if (runs(files->container_)) return files;
    TRY(files->start_machine(std::move(held.lock)));
    return files;
}

}  // namespace drupe::engine
