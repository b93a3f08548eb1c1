#include "api/engine/confined_disk.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "imagefs/import/disk_device.h"
#include "monitor/confine/seccomp.h"

namespace drupe::engine {
namespace {

using imagefs::ext4::BlockDevice;

constexpr size_t kBlock = BlockDevice::kBlockSize;
constexpr uint32_t kMaxBlocks = 256;  ///< Of one request: 1 MiB.
constexpr size_t kMaxMessage = 1024;
constexpr int kRequests = 3;  ///< The child's descriptors.
constexpr int kAnswers = 4;

enum class Op : uint32_t { kRead, kWrite, kZero, kDone };

/// Followed by its blocks if it is a write, by a message if it is the end.
struct Request {
    Op op = Op::kDone;
    uint32_t count = 0;  ///< Blocks; kDone: bytes of the message.
    uint64_t lba = 0;    ///< kDone: 0, or 1 + the error's code.
};

/// Followed by its blocks if it is a read that succeeded.
enum class Answer : uint32_t { kFailed, kDone };

Status read_exactly(int fd, std::span<std::byte> out) {
    while (!out.empty()) {
        const ssize_t n = ::read(fd, out.data(), out.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_error("read from a confined process");
        if (n == 0) return Error{ErrorCode::kIo, "a confined process hung up"};
        out = out.subspan(static_cast<size_t>(n));
    }
    return ok();
}

template <typename T>
Status send(int fd, const T& value) {
    return write_all(fd, std::as_bytes(std::span(&value, 1)));
}

/// The child's disk.
class RemoteDisk final : public BlockDevice {
  public:
    explicit RemoteDisk(uint64_t blocks) : blocks_(blocks) {}

    uint64_t block_count() const override { return blocks_; }
    Status read_blocks(uint64_t lba, std::span<std::byte> out) override {
        while (!out.empty()) {
            const auto part = out.first(std::min<size_t>(out.size(), kMaxBlocks * kBlock));
            TRY(ask(Op::kRead, lba, part.size() / kBlock));
            TRY(answered());
            TRY(read_exactly(kAnswers, part));
            lba += part.size() / kBlock;
            out = out.subspan(part.size());
        }
        return ok();
    }
    Status write_blocks(uint64_t lba, std::span<const std::byte> data) override {
        while (!data.empty()) {
            const auto part = data.first(std::min<size_t>(data.size(), kMaxBlocks * kBlock));
            TRY(ask(Op::kWrite, lba, part.size() / kBlock));
            TRY(write_all(kRequests, part));
            TRY(answered());
            lba += part.size() / kBlock;
            data = data.subspan(part.size());
        }
        return ok();
    }
    Status zero_blocks(uint64_t lba, uint64_t count) override {
        for (; count > 0;) {
            const uint64_t part = std::min<uint64_t>(count, UINT32_MAX);
            TRY(ask(Op::kZero, lba, part));
            TRY(answered());
            lba += part;
            count -= part;
        }
        return ok();
    }

  private:
    static Status ask(Op op, uint64_t lba, uint64_t count) {
        return send(kRequests, Request{op, static_cast<uint32_t>(count), lba});
    }
    static Status answered() {
        Answer answer{};
        TRY(read_exactly(kAnswers, std::as_writable_bytes(std::span(&answer, 1))));
        if (answer != Answer::kDone) return Error{ErrorCode::kIo, "the disk failed"};
        return ok();
    }

    uint64_t blocks_;
};

/// The child: leaves everything but its pipes behind, works, and says how it went.
[[noreturn]] void be_confined(int requests, int answers, uint64_t blocks,
                              const std::function<Status(BlockDevice&)>& work) {
    // Above both targets first: either may be the other's number.
    const int high_requests = ::fcntl(requests, F_DUPFD, kAnswers + 1);
    const int high_answers = ::fcntl(answers, F_DUPFD, kAnswers + 1);
    if (::dup2(high_requests, kRequests) < 0 || ::dup2(high_answers, kAnswers) < 0) ::_exit(1);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::close(STDIN_FILENO);
    ::close(STDOUT_FILENO);
    if (::close_range(kAnswers + 1, UINT_MAX, 0) != 0) ::_exit(1);
    const rlimit cpu{kConfinedCpuSeconds, kConfinedCpuSeconds};
    ::setrlimit(RLIMIT_CPU, &cpu);
    Status done = confine::install(confine::Role::kReader);
    if (done) {
        RemoteDisk disk(blocks);
        done = work(disk);
    }
    Request end;
    std::string message;
    if (!done) {
        message = done.error().message.substr(0, kMaxMessage);
        end.lba = 1 + static_cast<uint64_t>(done.error().code);
    }
    end.count = static_cast<uint32_t>(message.size());
    const bool said =
        send(kRequests, end) && write_all(kRequests, std::as_bytes(std::span(message)));
    ::_exit(said ? 0 : 1);
}

/// This side: the disk, for what the child asks of it.
class Server {
  public:
    Server(BlockBackend& disk, int requests, int answers)
        : device_(disk), requests_(requests), answers_(answers) {}

    /// Until the child says how it went.
    Status serve() {
        for (;;) {
            Request request;
            TRY(read_exactly(requests_, std::as_writable_bytes(std::span(&request, 1))));
            if (request.op == Op::kDone) return outcome(request);
            TRY(check(request));
            TRY(answer(request));
        }
    }

  private:
    Status check(const Request& request) const {
        const uint64_t blocks = device_.block_count();
        const bool moves = request.op == Op::kRead || request.op == Op::kWrite;
        if ((!moves && request.op != Op::kZero) || (moves && request.count > kMaxBlocks) ||
            request.lba > blocks || request.count > blocks - request.lba) {
            return Error{ErrorCode::kIo, fmt::format("a confined process asked for {} blocks at {}",
                                                     request.count, request.lba)};
        }
        return ok();
    }

    Status answer(const Request& request) {
        Status done = ok();
        if (request.op == Op::kZero) {
            done = device_.zero_blocks(request.lba, request.count);
        } else {
            blocks_.resize(request.count * kBlock);
            if (request.op == Op::kWrite) {
                TRY(read_exactly(requests_, blocks_));
                done = device_.write_blocks(request.lba, blocks_);
            } else {
                done = device_.read_blocks(request.lba, blocks_);
            }
        }
        if (!done) failure_ = done;
        TRY(send(answers_, done ? Answer::kDone : Answer::kFailed));
        if (done && request.op == Op::kRead) return write_all(answers_, blocks_);
        return ok();
    }

    Status outcome(const Request& end) {
        std::string message(std::min<size_t>(end.count, kMaxMessage), '\0');
        TRY(read_exactly(requests_, std::as_writable_bytes(std::span(message))));
        if (!failure_) return failure_;  // the cause
        if (end.lba == 0) return ok();
        const uint64_t code = end.lba - 1;
        const bool known = code <= static_cast<uint64_t>(ErrorCode::kInternal);
        return Error{known ? static_cast<ErrorCode>(code) : ErrorCode::kIo, message};
    }

    imagefs::DiskDevice device_;
    int requests_;
    int answers_;
    std::vector<std::byte> blocks_;
    Status failure_ = ok();
};

/// How the child ended, if it didn't end well.
std::string last_words(pid_t child) {
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) return fmt::format("was ended by signal {}", WTERMSIG(status));
    if (WEXITSTATUS(status) != 0) return fmt::format("exited with {}", WEXITSTATUS(status));
    return "";
}

}  // namespace

Status with_confined_disk(BlockBackend& disk, const std::function<Status(BlockDevice&)>& work) {
    TRY_ASSIGN(FdPair requests, make_pipe());
    TRY_ASSIGN(FdPair answers, make_pipe());
    const uint64_t blocks = disk.size_bytes() / kBlock;
    const pid_t child = ::fork();
    if (child < 0) return os_error("start a confined process");
    if (child == 0) be_confined(requests.second.get(), answers.first.get(), blocks, work);
    requests.second.reset();
    answers.first.reset();
    Status served = Server(disk, requests.first.get(), answers.second.get()).serve();
    if (!served) ::kill(child, SIGKILL);
    const std::string words = last_words(child);
    if (!served && served.error().code == ErrorCode::kIo && !words.empty()) {
        return Error{ErrorCode::kIo, fmt::format("{} ({})", served.error().message, words)};
    }
    return served;
}

}  // namespace drupe::engine
