#include "monitor/snapshot_writer.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "vmm/snapshot/memory_file.h"

namespace drupe {
namespace {

constexpr std::string_view kWritten = "written";
constexpr size_t kMaxReportBytes = 4096;
constexpr int kLongestWaitMs = 2000;

Status write_files(const GuestMemory& memory, const std::vector<PageRun>& elsewhere,
                   std::vector<StateSection> sections, const control::Snapshot& files) {
    TRY_ASSIGN(const MemoryPages pages, write_memory(memory, files.memory.get(), elsewhere));
    sections.push_back(
        {std::string(kMemorySection), kMemorySectionVersion, encode_memory_pages(pages)});
    const std::string state = encode_state_file(sections);
    return write_exact(files.state.get(), std::as_bytes(std::span(state)), 0);
}

/// What else is open is the machine's: whoever waits for the end of one of its streams would wait
/// for this process, too.
bool close_others(int report, const control::Snapshot& files) {
    std::array kept{report, files.state.get(), files.memory.get()};
    std::ranges::sort(kept);
    return close_all_but(kept);
}

/// The machine goes on first, on a host with few processors. If it doesn't, this process does.
void await_turn(int report) {
    pollfd end{report, POLLIN, 0};
    (void)::poll(&end, 1, kLongestWaitMs);
}

[[noreturn]] void write_and_exit(const GuestMemory& memory, const std::vector<PageRun>& elsewhere,
                                 std::vector<StateSection> sections, const control::Snapshot& files,
                                 int report) {
    Status written =
        close_others(report, files) ? ok() : Status(os_error("close what is the machine's"));
    await_turn(report);
    if (written) written = write_files(memory, elsewhere, std::move(sections), files);
    const std::string_view text = written ? kWritten : std::string_view(written.error().message);
    (void)write_all(report, std::as_bytes(std::span(text)));
    ::_exit(written ? 0 : 1);
}

}  // namespace

Result<std::unique_ptr<SnapshotWriter>> SnapshotWriter::start(
    EventLoop& loop, const GuestMemory& memory, const std::vector<PageRun>& elsewhere,
    std::vector<StateSection> sections, const control::Snapshot& files,
    std::function<void(const Status&)> done) {
    TRY_ASSIGN(FdPair report, make_socketpair(SOCK_STREAM));
    TRY(set_nonblocking(report.first.get(), true));
    const pid_t pid = ::fork();
    if (pid < 0) return os_error("make the process that writes a snapshot");
    if (pid == 0)
        write_and_exit(memory, elsewhere, std::move(sections), files, report.second.get());
    return std::unique_ptr<SnapshotWriter>(
        new SnapshotWriter(loop, std::move(report.first), std::move(done)));
}

SnapshotWriter::SnapshotWriter(EventLoop& loop, Fd report, std::function<void(const Status&)> done)
    : report_(std::move(report)),
      done_(std::move(done)),
      watch_(loop.on_readable(report_.get(), [this] { read_report(); })) {}

void SnapshotWriter::begin() {
    (void)::shutdown(report_.get(), SHUT_WR);
}

void SnapshotWriter::read_report() {
    std::array<char, kMaxReportBytes> part{};
    const ssize_t n = ::recv(report_.get(), part.data(), part.size() - text_.size(), 0);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (n > 0) text_.append(part.data(), static_cast<size_t>(n));
    if (n > 0 && text_.size() < part.size()) return;
    watch_.reset();
    const auto done = std::move(done_);  // which may end this object
    if (text_ == kWritten) return done(ok());
    if (text_.empty()) text_ = "the process that writes it was killed";
    done(Error{ErrorCode::kIo, text_});
}

}  // namespace drupe
