#include "api/engine/log_options.h"

#include <fmt/format.h>

#include <charconv>

#include "api/engine/units.h"

namespace drupe::engine {
namespace {

Result<uint32_t> parse_files(const std::string& text) {
    uint32_t files = 0;
    const char* const end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, files);
    if (parsed.ec != std::errc() || parsed.ptr != end || files < 1 || files > kMaxLogFiles) {
        return Error{ErrorCode::kInvalid, fmt::format("log option max-file={}: 1 to {} files",
                                                      text.substr(0, 32), kMaxLogFiles)};
    }
    return files;
}

}  // namespace

Result<LogOptions> parse_log_options(const std::string& driver,
                                     const std::map<std::string, std::string>& options) {
    LogOptions out;
    if (!driver.empty()) out.driver = driver;
    if (out.driver != "json-file" && out.driver != "local" && out.driver != "none") {
        return Error{ErrorCode::kUnsupported,
                     fmt::format("log driver '{}' is not supported: there are json-file, local and "
                                 "none",
                                 driver.substr(0, 64))};
    }
    for (const auto& [name, value] : options) {
        if (out.driver == "none") {
            return Error{ErrorCode::kInvalid, "log driver none takes no options"};
        }
        if (name == "max-size") {
            TRY_ASSIGN(out.max_size_bytes, parse_bytes(value));
        } else if (name == "max-file") {
            TRY_ASSIGN(out.max_files, parse_files(value));
        } else {
            return Error{ErrorCode::kUnsupported,
                         fmt::format("log option '{}' is not supported: there are max-size and "
                                     "max-file",
                                     name.substr(0, 64))};
        }
    }
    return out;
}

}  // namespace drupe::engine
