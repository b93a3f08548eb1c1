#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "guest-init/protocol.h"

namespace drupe::engine {

/// What `docker top` shows.
struct ProcessTable {
    std::vector<std::string> titles;
    std::vector<std::vector<std::string>> rows;
};

/// A column of ps(1).
struct ProcessColumn {
    std::string_view name;   ///< As in `ps -o`.
    std::string_view title;  ///< procps' heading.
    std::string (*text)(const protocol::ProcessInfo&, const protocol::ProcessList&);
};
struct ProcessColumnChoice {
    const ProcessColumn* column;
    std::string title;  ///< "pid=ID" heads it ID.
};

/// The columns that ps's arguments ask for, of those that are known: none or "-ef" are UID PID PPID
/// C STIME TTY TIME CMD; "aux"; "-o LIST" and its like. kUnsupported names what isn't known.
[[nodiscard]] Result<std::vector<ProcessColumnChoice>> choose_process_columns(
    std::string_view ps_arguments);

/// The guest is hostile: what it said is shown without control characters.
[[nodiscard]] ProcessTable make_process_table(const std::vector<ProcessColumnChoice>& columns,
                                              const protocol::ProcessList& list);

}  // namespace drupe::engine
