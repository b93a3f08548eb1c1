#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace drupe::archive {

// What paths mean to `docker cp`: text only, no file is looked at.

/// The shortest equal path: no ".", no "//", ".." taken back where that can be done. "" is ".".
[[nodiscard]] std::string clean(std::string_view path);
/// The last component of a path; "." of an empty one, "/" of the root.
[[nodiscard]] std::string base_name(std::string_view path);
[[nodiscard]] bool has_trailing_slash(std::string_view path);
/// "." or ".../.": what is in the folder, not the folder.
[[nodiscard]] bool names_contents(std::string_view path);
/// The path can only mean a folder.
[[nodiscard]] bool asserts_folder(std::string_view path);
/// clean(), with the "/" or "/." that `like` ends with.
[[nodiscard]] std::string clean_like(std::string_view path, std::string_view like);
/// A container's path as users write it: from the root on, cleaned, with its "/" or "/." kept.
[[nodiscard]] std::string container_path(std::string_view path);

struct SplitPath {
    std::string folder;
    std::string base;  ///< "." if the path names a folder's contents.
};
[[nodiscard]] SplitPath split_entry(std::string_view path);

/// One end of a copy.
struct CopyEnd {
    std::string path;
    bool exists = false;
    bool is_folder = false;
    /// A source's: the name its top has in the archive, where that isn't its path's base name.
    std::string name;
};

/// Where an archive is to be unpacked, and under which name.
struct CopyPlan {
    std::string folder;
    std::string name;  ///< Of the archive's top; empty: as it is.
};
/// Docker's rules: into a folder that exists, over a file, or as something new in a folder.
/// kConflict: a folder onto a file. kNotFound: "DIR/" for a file, and there is no DIR.
[[nodiscard]] Result<CopyPlan> plan_copy(const CopyEnd& source, const CopyEnd& destination);

/// What a source is called in its archive when `asked` was found to be `resolved`: empty if the
/// same. Gives resolved the "/" or "/." of asked.
[[nodiscard]] std::string rebase_name(std::string_view asked, std::string& resolved);

/// "CONTAINER:PATH" as an argument of the command; container is empty for a path of the host's.
struct CopyArgument {
    std::string container;
    std::string path;
};
[[nodiscard]] CopyArgument parse_copy_argument(std::string_view argument);

}  // namespace drupe::archive
