#include "api/engine/log_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "api/engine/time_text.h"
#include "base/json_reader.h"
#include "base/json_string.h"

namespace drupe::engine {
namespace {

constexpr size_t kChunkBytes = 256 << 10;
/// A piece of output is at most 16 KiB, six times that when every byte is escaped.
constexpr size_t kMaxLineBytes = 128 << 10;
constexpr size_t kMostFirstLines = 4 << 10;  // are shorter than this

Result<size_t> read_some(int fd, char* out, size_t size, uint64_t offset) {
    ssize_t n = 0;
    do {
        n = ::pread(fd, out, size, static_cast<off_t>(offset));
    } while (n < 0 && errno == EINTR);
    if (n < 0) return os_error("read the container's log");
    return static_cast<size_t>(n);
}

uint64_t size_of(int fd) {
    struct stat stat {};
    if (fd < 0 || ::fstat(fd, &stat) < 0) return 0;
    return static_cast<uint64_t>(stat.st_size);
}

/// Where the last `lines` lines of a file start; fewer lines are in it: 0 and how many lack.
Result<uint64_t> find_tail(int fd, uint64_t& lines) {
    uint64_t end = size_of(fd);
    std::string chunk(kChunkBytes, '\0');
    bool last = true;  // the newline at the very end starts no line
    while (end > 0) {
        const uint64_t start = end - std::min<uint64_t>(end, kChunkBytes);
        TRY_ASSIGN(const size_t n, read_some(fd, chunk.data(), end - start, start));
        for (size_t i = n; i > 0; --i) {
            if (chunk[i - 1] != '\n') continue;
            if (last) {
                last = false;
                continue;
            }
            if (--lines == 0) return start + i;
        }
        end = start;
    }
    if (!last) --lines;
    return uint64_t{0};
}

/// A line as the monitor writes it; nullopt: it may still be one of another shape.
std::optional<LogEntry> parse_own_line(std::string_view line) {
    constexpr std::string_view kHead = R"({"log":")";
    constexpr std::string_view kStream = R"(","stream":"std)";
    constexpr std::string_view kTime = R"(","time":")";
    constexpr std::string_view kEnd = R"("})";
    const size_t stream = line.rfind(kStream);
    if (!line.starts_with(kHead) || !line.ends_with(kEnd) || stream == std::string_view::npos ||
        stream < kHead.size())
        return std::nullopt;
    auto text = plain_json_string(line.substr(kHead.size(), stream - kHead.size()));
    if (!text) return std::nullopt;
    line.remove_prefix(stream + kStream.size());
    const bool is_stderr = line.starts_with("err");
    if (!is_stderr && !line.starts_with("out")) return std::nullopt;
    line.remove_prefix(3);
    if (!line.starts_with(kTime) || line.size() < kTime.size() + kEnd.size()) return std::nullopt;
    line.remove_prefix(kTime.size());
    line.remove_suffix(kEnd.size());
    const auto at = parse_time_text(line);
    if (!at) return std::nullopt;
    return LogEntry{.is_stderr = is_stderr, .at_ns = *at, .text = std::move(*text)};
}

}  // namespace

std::string log_file_name(const std::string& path, size_t index) {
    return index == 0 ? path : path + "." + std::to_string(index);
}

std::optional<LogEntry> parse_log_line(std::string_view line) {
    if (auto entry = parse_own_line(line)) return entry;
    const auto parsed = parse_json(line, 2);
    if (!parsed) return std::nullopt;
    LogEntry entry;
    std::string stream;
    std::string time;
    JsonReader in(parsed.value());
    in.get("log", entry.text);
    in.get("stream", stream);
    in.get("time", time);
    const auto at = parse_time_text(time);
    if (!in.status() || !at) return std::nullopt;
    entry.is_stderr = stream == "stderr";
    entry.at_ns = *at;
    return entry;
}

Status LogReader::open_files() {
    for (size_t i = 0; i < files_.size(); ++i) {
        File& file = files_[i];
        if (!file.fd.valid()) {
            auto opened = open_file(log_file_name(path_, i), O_RDONLY);
            if (!opened && opened.error().os_errno == ENOENT) break;  // nor are those after it
            if (!opened) return std::move(opened).error();
            file.fd = std::move(opened).value();
        }
        file.first_ns = first_time(file.fd.get());
    }
    if (opened_ && current_first_ns_ != 0) return ok();
    opened_ = true;
    // The first entry of all may have been half read already.
    if (const auto oldest = younger()) go_to(*oldest, *oldest == current_ ? offset_ : 0);
    return ok();
}

std::optional<size_t> LogReader::younger() const {
    std::optional<size_t> found;
    for (size_t i = 0; i < files_.size(); ++i) {
        if (files_[i].first_ns <= current_first_ns_) continue;
        if (!found || files_[i].first_ns < files_[*found].first_ns) found = i;
    }
    return found;
}

void LogReader::go_to(size_t file, uint64_t offset) {
    current_ = file;
    current_first_ns_ = files_[file].first_ns;
    offset_ = offset;
}

uint64_t LogReader::first_time(int fd) {
    for (const size_t size : {kMostFirstLines, kMaxLineBytes}) {
        std::string chunk(size, '\0');
        const auto n = read_some(fd, chunk.data(), chunk.size(), 0);
        if (!n) return 0;
        const std::string_view text(chunk.data(), n.value());
        const size_t end = text.find('\n');
        if (end == std::string_view::npos && n.value() == size) continue;
        const auto entry = parse_log_line(text.substr(0, end));
        return entry ? entry->at_ns : 0;
    }
    return 0;
}

bool LogReader::was_rewritten() const {
    return current_first_ns_ != 0 && first_time(files_[current_].fd.get()) != current_first_ns_;
}

Status LogReader::tail(uint64_t lines) {
    TRY(open_files());
    std::vector<size_t> order;  // of those with entries, the youngest first
    for (size_t i = 0; i < files_.size(); ++i) {
        if (files_[i].first_ns != 0) order.push_back(i);
    }
    std::sort(order.begin(), order.end(),
              [&](size_t a, size_t b) { return files_[a].first_ns > files_[b].first_ns; });
    if (order.empty()) return ok();
    if (lines == 0) {
        go_to(order.front(), size_of(files_[order.front()].fd.get()));
        return ok();
    }
    for (const size_t file : order) {
        TRY_ASSIGN(const uint64_t start, find_tail(files_[file].fd.get(), lines));
        go_to(file, start);
        if (lines == 0) break;
    }
    return ok();
}

/// Appends what comes next in the current file, or begins with the next one if the writer has;
/// false: there is nothing now.
Result<bool> LogReader::read_more() {
    std::optional<size_t> next;
    for (;;) {
        if (files_[current_].fd.valid() && !was_rewritten()) {
            const size_t have = buffer_.size();
            buffer_.resize(have + kChunkBytes);
            const auto n =
                read_some(files_[current_].fd.get(), buffer_.data() + have, kChunkBytes, offset_);
            buffer_.resize(have + (n ? n.value() : 0));
            if (!n) return std::move(n).error();
            offset_ += n.value();
            if (n.value() > 0) return true;
        }
        if (next) {  // what was written here before the writer went on has been read, too
            go_to(*next, 0);
            buffer_.clear();
            return true;
        }
        const uint64_t before = current_first_ns_;
        TRY(open_files());
        if (before == 0 && current_first_ns_ != 0) continue;  // the first entry there is
        next = younger();
        if (!next) return false;
        // A file that was written anew has no rest to be read.
        if (files_[current_].first_ns != current_first_ns_) {
            go_to(*next, 0);
            buffer_.clear();
            return true;
        }
    }
}

Result<std::optional<std::string>> LogReader::next_line() {
    for (;;) {
        const size_t newline = buffer_.find('\n', taken_);
        if (newline != std::string::npos) {
            std::string line = buffer_.substr(taken_, newline - taken_);
            taken_ = newline + 1;
            return std::optional(std::move(line));
        }
        buffer_.erase(0, taken_);
        taken_ = 0;
        if (buffer_.size() > kMaxLineBytes) buffer_.clear();  // no line of ours
        TRY_ASSIGN(const bool more, read_more());
        if (!more) return std::optional<std::string>();
    }
}

Result<std::optional<LogEntry>> LogReader::next() {
    TRY(opened_ ? Status(ok()) : open_files());
    for (;;) {
        TRY_ASSIGN(const auto line, next_line());
        if (!line) return std::optional<LogEntry>();
        if (auto entry = parse_log_line(*line)) return entry;
    }
}

}  // namespace drupe::engine
