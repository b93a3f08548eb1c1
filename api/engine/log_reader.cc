#include "api/engine/log_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "api/engine/time_text.h"
#include "base/json_reader.h"

namespace drupe::engine {
namespace {

constexpr size_t kChunkBytes = 256 << 10;
/// A piece of output is at most 16 KiB, six times that when every byte is escaped.
constexpr size_t kMaxLineBytes = 128 << 10;

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

}  // namespace

std::optional<LogEntry> parse_log_line(std::string_view line) {
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
    for (size_t i = 0; i < 2; ++i) {
        File& file = files_[i];
        if (!file.fd.valid()) {
            auto opened = open_file(path_ + (i == 0 ? "" : ".1"), O_RDONLY);
            if (!opened && opened.error().os_errno == ENOENT) continue;
            if (!opened) return std::move(opened).error();
            file.fd = std::move(opened).value();
        }
        file.first_ns = first_time(file.fd.get());
    }
    if (opened_) return ok();
    opened_ = true;
    const uint64_t other = files_[1].first_ns;
    current_ = other != 0 && (files_[0].first_ns == 0 || other < files_[0].first_ns) ? 1 : 0;
    return ok();
}

uint64_t LogReader::first_time(int fd) const {
    std::string chunk(kMaxLineBytes, '\0');
    const auto n = read_some(fd, chunk.data(), chunk.size(), 0);
    if (!n) return 0;
    const std::string_view text(chunk.data(), n.value());
    const auto entry = parse_log_line(text.substr(0, text.find('\n')));
    return entry ? entry->at_ns : 0;
}

Status LogReader::tail(uint64_t lines) {
    TRY(open_files());
    const size_t oldest = current_;
    const size_t newest = 1 - oldest;
    if (lines == 0) {
        current_ = files_[newest].first_ns != 0 ? newest : oldest;
        offset_ = size_of(files_[current_].fd.get());
        return ok();
    }
    if (files_[newest].first_ns != 0) {
        TRY_ASSIGN(const uint64_t start, find_tail(files_[newest].fd.get(), lines));
        if (lines == 0) {
            current_ = newest;
            offset_ = start;
            return ok();
        }
    }
    TRY_ASSIGN(offset_, find_tail(files_[oldest].fd.get(), lines));
    return ok();
}

/// Goes on to the other file if the writer has; false: it hasn't.
Result<bool> LogReader::next_file() {
    TRY(open_files());
    const size_t other = 1 - current_;
    const uint64_t here = files_[current_].first_ns;
    const uint64_t there = files_[other].first_ns;
    const bool was_cut = size_of(files_[current_].fd.get()) < offset_;
    if (there == 0 || (there <= here && !was_cut)) {
        if (was_cut) offset_ = 0;
        return was_cut;
    }
    // Both were written anew since: the older of them comes first.
    if (!was_cut || there < here) current_ = other;
    offset_ = 0;
    buffer_.clear();
    taken_ = 0;
    return true;
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
        if (!files_[current_].fd.valid()) {
            TRY(open_files());
        }
        if (files_[current_].fd.valid()) {
            const size_t have = buffer_.size();
            buffer_.resize(have + kChunkBytes);
            TRY_ASSIGN(const size_t n, read_some(files_[current_].fd.get(), buffer_.data() + have,
                                                 kChunkBytes, offset_));
            buffer_.resize(have + n);
            offset_ += n;
            if (n > 0) continue;
        }
        TRY_ASSIGN(const bool more, next_file());
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
