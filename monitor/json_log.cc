#include "monitor/json_log.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "base/json_string.h"

namespace drupe {
namespace {

/// How many of the first `limit` bytes to cut at, so that no UTF-8 sequence is split (unless it is
/// malformed).
size_t cut_at_character(std::string_view text, size_t limit) {
    size_t cut = limit;
    for (int i = 0; i < 3 && cut > 0 && (static_cast<uint8_t>(text[cut]) & 0xc0) == 0x80; ++i)
        --cut;
    return cut > 0 && (static_cast<uint8_t>(text[cut]) & 0xc0) != 0x80 ? cut : limit;
}

}  // namespace

std::string rfc3339(uint64_t realtime_ns) {
    const auto seconds = static_cast<time_t>(realtime_ns / 1'000'000'000);
    tm parts{};
    ::gmtime_r(&seconds, &parts);
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z", parts.tm_year + 1900,
                       parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                       realtime_ns % 1'000'000'000);
}

JsonLog::JsonLog(const LogConfig& config, Now now)
    : max_file_bytes_(config.max_file_bytes), now_(std::move(now)) {
    for (const int fd : config.fds) files_.emplace_back(fd);
    // Go on in the newest file: the last one written.
    timespec newest{};
    for (size_t i = 0; i < files_.size(); ++i) {
        struct stat stat {};
        if (::fstat(files_[i].get(), &stat) < 0 || stat.st_size == 0) continue;
        const bool newer =
            stat.st_mtim.tv_sec > newest.tv_sec ||
            (stat.st_mtim.tv_sec == newest.tv_sec && stat.st_mtim.tv_nsec >= newest.tv_nsec);
        if (!newer) continue;
        newest = stat.st_mtim;
        current_ = i;
        current_bytes_ = static_cast<uint64_t>(stat.st_size);
    }
}

void JsonLog::write(protocol::Stream stream, std::string_view bytes) {
    if (files_.empty()) return;
    std::string& partial = partial_[static_cast<size_t>(stream)];
    std::string lines;
    while (!bytes.empty()) {
        const size_t newline = bytes.find('\n');
        const size_t want = newline == std::string_view::npos ? bytes.size() : newline + 1;
        const size_t room = kMaxLineBytes - partial.size();
        const size_t take = want <= room ? want : cut_at_character(bytes, room);
        partial.append(bytes.substr(0, take));
        bytes.remove_prefix(take);
        if (partial.back() != '\n' && partial.size() < kMaxLineBytes && take == want) break;
        append_line(stream, partial, lines);
        partial.clear();
    }
    if (!lines.empty()) put(lines);
}

void JsonLog::finish(protocol::Stream stream) {
    std::string& partial = partial_[static_cast<size_t>(stream)];
    if (partial.empty()) return;
    std::string line;
    append_line(stream, partial, line);
    partial.clear();
    put(line);
}

void JsonLog::append_line(protocol::Stream stream, std::string_view text, std::string& out) const {
    out += R"({"log":)";
    append_json_string(out, text);
    out += R"(,"stream":")";
    out += stream == protocol::Stream::kStderr ? "stderr" : "stdout";
    out += R"(","time":")";
    out += rfc3339(now_());
    out += "\"}\n";
}

void JsonLog::put(const std::string& lines) {
    if (max_file_bytes_ != 0 && current_bytes_ > 0 &&
        current_bytes_ + lines.size() > max_file_bytes_)
        rotate();
    const auto status =
        write_exact(files_[current_].get(), std::as_bytes(std::span(lines)), current_bytes_);
    if (status) {
        current_bytes_ += lines.size();
        return;
    }
    lost_lines_ += static_cast<uint64_t>(std::count(lines.begin(), lines.end(), '\n'));
    if (limit_.pass())
        log(LogLevel::kWarn, "container log: {}; {} lines lost", status.error().message,
            lost_lines_);
}

void JsonLog::rotate() {
    current_ = (current_ + 1) % files_.size();
    current_bytes_ = 0;
    if (::ftruncate(files_[current_].get(), 0) < 0 && limit_.pass())
        log(LogLevel::kWarn, "container log: {}", os_error("truncate").message);
}

}  // namespace drupe
