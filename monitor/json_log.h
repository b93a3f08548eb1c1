#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/log.h"
#include "guest-init/protocol.h"
#include "monitor/config.h"

namespace drupe {

/// The workload's output on disk, in the format of Docker's json-file driver: an object a line with
/// log, stream and time. Rotates over a fixed set of descriptors, so that the cap holds with nobody
/// but this process alive. Used by one thread. A file that can't be written (ENOSPC) loses lines,
/// which are counted; the workload goes on.
class JsonLog {
  public:
    using Now = std::function<uint64_t()>;  ///< CLOCK_REALTIME nanoseconds.

    JsonLog(const LogConfig& config, Now now);

    /// Output as it came: cut at newlines and at kMaxLineBytes. A last line without a newline is
    /// kept until more comes or finish() is called.
    void write(protocol::Stream stream, std::string_view bytes);
    /// The stream has ended.
    void finish(protocol::Stream stream);

    [[nodiscard]] uint64_t lost_lines() const { return lost_lines_; }

    static constexpr size_t kMaxLineBytes = 16 << 10;  ///< As Docker's.

  private:
    void append_line(protocol::Stream stream, std::string_view text, std::string& out) const;
    void put(const std::string& lines);
    void rotate();

    std::vector<Fd> files_;
    uint64_t max_file_bytes_;
    Now now_;
    size_t current_ = 0;
    uint64_t current_bytes_ = 0;
    std::array<std::string, 3> partial_;
    uint64_t lost_lines_ = 0;
    LogLimit limit_;
};

/// RFC 3339 with nanoseconds, UTC: "2026-11-25T22:30:39.123456789Z".
[[nodiscard]] std::string rfc3339(uint64_t realtime_ns);

}  // namespace drupe
