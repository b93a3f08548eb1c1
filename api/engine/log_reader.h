#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace drupe::engine {

/// A line of a container's output, or a piece of a very long one.
struct LogEntry {
    bool is_stderr = false;
    uint64_t at_ns = 0;  ///< CLOCK_REALTIME
    std::string text;    ///< With its newline, if it had one.
};

/// Reads a container's log while the monitor may be writing it: json-file lines in files that are
/// written in turn (those with the older first entry are read first). What was overwritten before
/// it was read is lost. What isn't a well-formed line is skipped: the monitor that wrote it may
/// have been taken over. One thread.
class LogReader {
  public:
    static constexpr size_t kMaxFiles = 20;

    /// path: of the first file; the others are PATH.1 to PATH.19. Files that don't exist are empty.
    explicit LogReader(std::string path) : path_(std::move(path)) {}

    /// Starts at the last `lines` entries instead of the first.
    [[nodiscard]] Status tail(uint64_t lines);
    /// The next entry; nullopt: no more now, maybe later.
    [[nodiscard]] Result<std::optional<LogEntry>> next();

  private:
    struct File {
        Fd fd;
        uint64_t first_ns = 0;  ///< Time of its first entry; 0: none yet.
    };
    [[nodiscard]] Status open_files();
    [[nodiscard]] static uint64_t first_time(int fd);
    /// The writer has come round to the current file.
    [[nodiscard]] bool was_rewritten() const;
    [[nodiscard]] Result<std::optional<std::string>> next_line();
    [[nodiscard]] Result<bool> read_more();
    /// The oldest file whose first entry is younger than what this one was at its beginning.
    [[nodiscard]] std::optional<size_t> younger() const;
    void go_to(size_t file, uint64_t offset);

    std::string path_;
    std::array<File, kMaxFiles> files_;
    bool opened_ = false;
    size_t current_ = 0;
    uint64_t current_first_ns_ = 0;  ///< Of the current file, when it was begun with.
    uint64_t offset_ = 0;  ///< Of the first byte that isn't in buffer_, in the current file.
    std::string buffer_;
    size_t taken_ = 0;  ///< Bytes of buffer_ that were returned.
};

/// The files of a log, in the order in which they are written.
[[nodiscard]] std::string log_file_name(const std::string& path, size_t index);

/// One line of a json-file log; nullopt if it isn't one.
[[nodiscard]] std::optional<LogEntry> parse_log_line(std::string_view line);

}  // namespace drupe::engine
