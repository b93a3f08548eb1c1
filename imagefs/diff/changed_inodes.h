#pragma once

#include <unordered_map>
#include <unordered_set>

#include "imagefs/diff/disk_pair.h"
#include "imagefs/diff/tree_diff.h"
#include "imagefs/guestfs/guest_fs.h"

namespace drupe::imagefs {

/// Which inodes differ between two disks, and where in the tree to look for their names. Internal
/// to imagefs/diff.
class ChangedInodes {
  public:
    [[nodiscard]] static Result<ChangedInodes> find(const DiskPair& pair, guestfs::GuestFs& before,
                                                    guestfs::GuestFs& after);

    [[nodiscard]] bool contains(uint32_t inode) const { return names_.contains(inode); }
    [[nodiscard]] size_t size() const { return names_.size(); }

    /// To be told of every name in `after`.
    void saw_name(uint32_t inode) {
        if (missing_ > 0 && contains(inode)) --missing_;
    }
    /// Whether a directory that didn't change may have something changed in or below it.
    [[nodiscard]] bool worth_visiting(uint32_t directory) const {
        return known_places_ ? on_the_way_.contains(directory) : !by_kernels_ || missing_ > 0;
    }

  private:
    [[nodiscard]] Status compare_block(uint32_t first, std::span<const std::byte> before,
                                       std::span<const std::byte> after);
    /// Climbs from changed directories to the root, then looks whether all names are in these.
    [[nodiscard]] Status find_places(guestfs::GuestFs& after);

    std::unordered_map<uint32_t, uint32_t> names_;  ///< How many `after` has for it.
    std::unordered_set<uint32_t> directories_;      ///< Changed, and there in `after`.
    std::unordered_set<uint32_t> on_the_way_;
    uint64_t missing_ = 0;  ///< Names that saw_name() wasn't told of yet.
    bool by_kernels_ = false;
    bool known_places_ = false;
};

}  // namespace drupe::imagefs
