#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "imagefs/store/digest.h"

namespace drupe::imagefs::oci {

/// How a container tests its own health (Docker's extension of the OCI config). Times in
/// nanoseconds, 0: the default.
struct Healthcheck {
    std::vector<std::string> test;  ///< "NONE", "CMD" ARGS, "CMD-SHELL" TEXT
    uint64_t interval_ns = 0;
    uint64_t timeout_ns = 0;
    uint64_t start_period_ns = 0;
    uint64_t retries = 0;
};

/// What an image says of how it wants to be run (image-spec, config.md).
struct ImageConfig {
    std::string raw;  ///< The JSON, byte for byte; its SHA-256 is the image's ID.
    std::string os;
    std::string architecture;
    std::vector<Digest> diff_ids;  ///< Bottom first.

    std::string user;
    std::string working_dir;
    std::vector<std::string> env;  ///< NAME=VALUE
    std::vector<std::string> entrypoint;
    std::vector<std::string> cmd;
    std::vector<std::string> shell;
    std::string stop_signal;
    std::vector<std::string> exposed_ports;  ///< "80/tcp"
    std::vector<std::string> volumes;
    std::vector<std::pair<std::string, std::string>> labels;
    std::optional<Healthcheck> healthcheck;

    [[nodiscard]] static Result<ImageConfig> parse(std::string text);
};

/// Whether an image with this many layers can be what the config describes, and runs here.
[[nodiscard]] Status check_config(const ImageConfig& config, size_t layers);

/// A config for files that come without one: linux/amd64, one layer. The same bytes for the same
/// arguments.
[[nodiscard]] std::string make_config(const Digest& diff_id, const std::vector<std::string>& env,
                                      const std::vector<std::string>& cmd,
                                      std::string_view comment);

}  // namespace drupe::imagefs::oci
