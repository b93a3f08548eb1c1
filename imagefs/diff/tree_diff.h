#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "imagefs/diff/disk_pair.h"
#include "imagefs/guestfs/guest_fs.h"

namespace drupe::imagefs {

/// One path in which two trees differ, or that lies above one.
struct Change {
    enum class Kind : uint8_t {
        kAdded,
        kModified,  ///< Its metadata, content or links; or another file has the name now.
        kDeleted,   ///< With everything below.
        kParent,    ///< A directory that stayed as it was, and in which something changed.
    };
    Kind kind = Kind::kParent;
    std::string path;                        ///< "etc/passwd"; empty: the root.
    std::optional<guestfs::Inode> before{};  ///< Unless there was none.
    std::optional<guestfs::Inode> after{};   ///< Unless deleted.
    /// kModified: not the file that had the name before. What a directory held is gone.
    bool replaced = false;
    /// Lies in a directory that was replaced, so that `before` has only the name in common with
    /// it. All that is and was there is told, the same or not.
    bool below_replaced = false;
};

struct DiffLimits {
    guestfs::ReadLimits reading{};
    uint64_t max_names = 10'000'000;  ///< Seen in all.
    uint32_t max_depth = 1024;
    size_t max_path_bytes = 64 << 10;
};

struct DiffStats {
    uint64_t changed_inodes = 0;
    uint64_t directories = 0;  ///< Looked into.
    uint64_t blocks_read = 0;  ///< Metadata of both disks.
};

/// How the tree on one disk became the tree on the other. Inode tables tell what changed, and only
/// the parts of them that may differ are read; then the directories on the way to it are walked.
/// All of them are if a file changed whose directory didn't, and what an importer wrote is compared
/// directory by directory.
///
/// Both disks are read as hostile (guestfs/guest_fs.h). One thread.
class TreeDiff {
  public:
    using Visit = std::function<Status(const Change&)>;

    [[nodiscard]] static Result<TreeDiff> open(std::unique_ptr<DiskPair> pair,
                                               const DiffLimits& limits = {});
    TreeDiff(TreeDiff&&) noexcept;
    TreeDiff& operator=(TreeDiff&&) noexcept;
    ~TreeDiff();

    /// Visits what changed, directories before what is in them, names in the order of their bytes.
    /// Directories above a change come too. Once.
    [[nodiscard]] Status walk(const Visit& visit);

    /// To read what a change is about. In visit(), too.
    [[nodiscard]] guestfs::GuestFs& before();
    [[nodiscard]] guestfs::GuestFs& after();
    [[nodiscard]] DiffStats stats() const;

  private:
    class State;
    explicit TreeDiff(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace drupe::imagefs
