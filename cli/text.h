#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/engine/container.h"
#include "base/result.h"

namespace drupe::cli {

/// "4.32MB": three digits, powers of 1000.
[[nodiscard]] std::string human_size(uint64_t bytes);

/// "4.123MiB": four digits, powers of 1024.
[[nodiscard]] std::string binary_size(uint64_t bytes);

/// "1.5" CPUs as billionths.
[[nodiscard]] Result<uint64_t> parse_cpus(std::string_view text);
/// "no", "always", "unless-stopped", "on-failure[:NUMBER]".
[[nodiscard]] Result<engine::RestartPolicy> parse_restart(std::string_view text);

/// A table as Docker prints it: columns as wide as their widest cell, three spaces between them.
class Table {
  public:
    explicit Table(std::vector<std::string> header) { rows_.push_back(std::move(header)); }
    void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
    [[nodiscard]] std::string text() const;

  private:
    std::vector<std::vector<std::string>> rows_;
};

/// At most `width` characters of text, the last an ellipsis if it had more.
[[nodiscard]] std::string ellipsis(const std::string& text, size_t width);

}  // namespace drupe::cli
