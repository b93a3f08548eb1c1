#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "api/endpoints/call.h"
#include "api/engine/log_reader.h"

namespace drupe::endpoints {

/// What a reader of a container's log wants.
struct LogWish {
    bool with_stdout = true;
    bool with_stderr = true;
    bool timestamps = false;
    bool details = false;  ///< Attributes and a space before each line; there are none.
    bool framed = true;
    uint64_t since_ns = 0;
    uint64_t until_ns = UINT64_MAX;
};

/// Writes all entries that are there now; false: nothing more is wanted (until is over).
[[nodiscard]] Result<bool> write_log(engine::LogReader& reader, const LogWish& wish,
                                     const std::function<Status(std::string_view)>& write);

/// All of a container's log, to a hijacked connection.
[[nodiscard]] Status send_log(const Call& call, const engine::Container& container, int fd,
                              bool with_stdout, bool with_stderr);

/// The media type of a stream to a client.
[[nodiscard]] std::string stream_type(bool framed);

}  // namespace drupe::endpoints
