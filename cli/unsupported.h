#pragma once

#include <span>
#include <string_view>

namespace drupe::cli {

/// What docker has and drupe hasn't: an option ("-v,--volume") or a command, why not, and what to
/// do instead.
struct Unsupported {
    std::string_view names;
    std::string_view why;
};

/// Of run and create.
[[nodiscard]] std::span<const Unsupported> unsupported_options();
[[nodiscard]] std::span<const Unsupported> unsupported_commands();

/// The entry with this name; nullptr: docker hasn't it either.
[[nodiscard]] const Unsupported* find_unsupported(std::span<const Unsupported> list,
                                                  std::string_view name);

}  // namespace drupe::cli
