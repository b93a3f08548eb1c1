#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace drupe::engine {

/// "ctrl-p,ctrl-q" as bytes; kInvalid if it isn't a list of characters and ctrl-X.
[[nodiscard]] Result<std::string> parse_detach_keys(std::string_view text);

/// Finds a key sequence in what is typed. Bytes that might begin it are held back until the next.
class DetachKeys {
  public:
    explicit DetachKeys(std::string keys) : keys_(std::move(keys)) {}
    /// What is to be sent of `typed`; matched() afterwards says whether the sequence is complete.
    [[nodiscard]] std::string pass(std::string_view typed);
    [[nodiscard]] bool matched() const { return matched_; }

  private:
    std::string keys_;
    size_t held_ = 0;
    bool matched_ = false;
};

}  // namespace drupe::engine
