#pragma once

#include <regex.h>

#include <memory>
#include <string>

#include "base/result.h"

namespace drupe::endpoints {

/// A "name" filter: a regular expression (POSIX extended), found anywhere in a name.
class NamePattern {
  public:
    /// kInvalid: it is none, or one that would cost too much ("{" repeats).
    [[nodiscard]] static Result<NamePattern> compile(const std::string& text);
    [[nodiscard]] bool matches(const std::string& name) const;

  private:
    struct Free {
        void operator()(regex_t* regex) const;
    };
    std::unique_ptr<regex_t, Free> regex_;
};

}  // namespace drupe::endpoints
