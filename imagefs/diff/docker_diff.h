#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "imagefs/diff/tree_diff.h"

namespace drupe::imagefs {

/// Says changes as `docker diff` does, which compares what stat(2) shows: of directories neither
/// time nor size, of extended attributes only capabilities. Directories above a change are changed
/// too, except the root. Docker's order is a hash table's; this is TreeDiff's.
class DockerDiff {
  public:
    /// kind: 'A', 'C' or 'D'; path: "/etc/passwd".
    using Print = std::function<Status(char kind, std::string_view path)>;

    /// Borrows the diff, to read attributes.
    DockerDiff(TreeDiff& diff, Print print) : diff_(diff), print_(std::move(print)) {}
    /// To be told of all that the diff visits, in its order.
    [[nodiscard]] Status add(const Change& change);

  private:
    [[nodiscard]] Result<bool> differs(const guestfs::Inode& before, const guestfs::Inode& after);

    struct Directory {
        std::string path;
        bool said = false;
    };
    TreeDiff& diff_;
    Print print_;
    std::vector<Directory> directories_;  ///< On the way to where the walk is.
};

}  // namespace drupe::imagefs
