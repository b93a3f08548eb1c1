#include "imagefs/diff/tree_diff.h"

#include <fmt/core.h>

#include <algorithm>
#include <unordered_set>
#include <vector>

#include "imagefs/diff/changed_inodes.h"

namespace drupe::imagefs {
namespace {

using guestfs::Directory;
using guestfs::Extent;
using guestfs::GuestFs;
using guestfs::Inode;
using guestfs::kRootInode;
using guestfs::Name;

/// A directory on the way from the root to where the walk is.
struct Level {
    std::optional<Inode> before;
    Inode after;
    bool told = false;  ///< As a change, its own or as the parent of one.
    bool below_replaced = false;
};

}  // namespace

class TreeDiff::State {
  public:
    State(std::unique_ptr<DiskPair> pair, const DiffLimits& limits, GuestFs before, GuestFs after)
        : pair_(std::move(pair)),
          limits_(limits),
          before_(std::move(before)),
          after_(std::move(after)) {}

    GuestFs& before() { return before_; }
    GuestFs& after() { return after_; }
    DiffStats stats() const {
        return {changed_.size(), seen_after_.size(), before_.blocks_read() + after_.blocks_read()};
    }

    Status walk(const Visit& visit) {
        visit_ = &visit;
        TRY_ASSIGN(changed_, ChangedInodes::find(*pair_, before_, after_));
        TRY_ASSIGN(const Inode before, before_.inode(kRootInode));
        TRY_ASSIGN(const Inode after, after_.inode(kRootInode));
        if (!before.is_directory() || !after.is_directory()) {
            return Error{ErrorCode::kCorrupt, "the disk's root isn't a directory"};
        }
        TRY_ASSIGN(const bool modified, is_modified(before, after));
        if (modified) {
            TRY(visit({Change::Kind::kModified, "", before, after}));
        }
        return enter({before, after, modified, false});
    }

  private:
    /// Everything in a directory.
    Status enter(Level level) {
        if (levels_.size() >= limits_.max_depth) {
            return Error{ErrorCode::kLimit,
                         fmt::format("{}: deeper than {} directories", path_, limits_.max_depth)};
        }
        // A directory has one name. Two, and the tree may be endless.
        if (!seen_after_.insert(level.after.number).second ||
            (level.before && !seen_before_.insert(level.before->number).second)) {
            return Error{ErrorCode::kCorrupt,
                         fmt::format("/{}: the directory has a second name elsewhere", path_)};
        }
        levels_.push_back(std::move(level));
        TRY(compare_names());
        levels_.pop_back();
        return ok();
    }

    Status compare_names() {
        const bool below_replaced = levels_.back().below_replaced;
        TRY_ASSIGN(const Directory now, read(after_, levels_.back().after));
        TRY_ASSIGN(const bool unchanged, same_content(levels_.back()));
        Directory old;
        if (levels_.back().before && !unchanged) {
            TRY_ASSIGN(old, read(before_, *levels_.back().before));
        }
        const std::vector<Name>& old_names = unchanged ? now.names : old.names;
        auto old_name = old_names.begin();
        for (const Name& name : now.names) {
            for (; old_name != old_names.end() && old_name->name < name.name; ++old_name) {
                TRY(deleted(*old_name, below_replaced));
            }
            changed_.saw_name(name.inode);
            const size_t length = path_.size();
            TRY(step_into(name.name));
            if (old_name != old_names.end() && old_name->name == name.name) {
                TRY(both(*old_name, name, below_replaced));
                ++old_name;
            } else {
                TRY(added(name, below_replaced));
            }
            path_.resize(length);
        }
        for (; old_name != old_names.end(); ++old_name) {
            TRY(deleted(*old_name, below_replaced));
        }
        return ok();
    }

    Result<Directory> read(GuestFs& fs, const Inode& inode) {
        auto directory = fs.directory(inode);
        if (!directory) return std::move(directory).error().wrap("/" + path_);
        names_seen_ += directory.value().names.size();
        if (names_seen_ > limits_.max_names) {
            return Error{ErrorCode::kLimit,
                         fmt::format("/{}: more than {} names in all", path_, limits_.max_names)};
        }
        return directory;
    }

    /// Whether a directory's blocks are the same ones on both disks.
    Result<bool> same_content(const Level& level) {
        const uint32_t number = level.after.number;
        if (!level.before || level.before->number != number || changed_.contains(number)) {
            return false;
        }
        TRY_ASSIGN(const std::vector<Extent> map, after_.extents(level.after));
        for (const Extent& extent : map) {
            TRY_ASSIGN(const bool same, untouched(extent));
            if (!same) return false;
        }
        return true;
    }
    Result<bool> untouched(const Extent& extent) const {
        for (uint64_t at = 0; at < extent.count;) {
            TRY_ASSIGN(const DiskPair::Run run,
                       pair_->run(extent.physical + at, extent.count - at));
            if (run.may_differ) return false;
            at += run.blocks;
        }
        return true;
    }

    Status step_into(const std::string& name) {
        if (!path_.empty()) path_ += '/';
        path_ += name;
        if (path_.size() <= limits_.max_path_bytes) return ok();
        return Error{ErrorCode::kLimit, fmt::format("a path of more than {} bytes: /{}...",
                                                    limits_.max_path_bytes, path_.substr(0, 64))};
    }

    Status deleted(const Name& name, bool below_replaced) {
        const size_t length = path_.size();
        TRY(step_into(name.name));
        Change change{Change::Kind::kDeleted, path_};
        TRY_ASSIGN(change.before, inode_of(before_, name));
        change.below_replaced = below_replaced;
        TRY(tell(change));
        path_.resize(length);
        return ok();
    }

    Status added(const Name& name, bool below_replaced) {
        TRY_ASSIGN(const Inode inode, inode_of(after_, name));
        Change change{Change::Kind::kAdded, path_, std::nullopt, inode};
        change.below_replaced = below_replaced;
        TRY(tell(change));
        if (!inode.is_directory()) return ok();
        return enter({std::nullopt, inode, true, below_replaced});
    }

    Status both(const Name& old_name, const Name& name, bool below_replaced) {
        if (!below_replaced && old_name.inode == name.inode && !changed_.contains(name.inode)) {
            return perhaps_below(name.inode);
        }
        TRY_ASSIGN(const Inode before, inode_of(before_, old_name));
        TRY_ASSIGN(const Inode after, inode_of(after_, name));
        Change change{Change::Kind::kModified, path_, before, after};
        change.below_replaced = below_replaced;
        if (below_replaced || !before.same_file(after)) {
            change.replaced = !below_replaced;
            TRY(tell(change));
            if (!after.is_directory()) return ok();
            if (!before.is_directory()) return enter({std::nullopt, after, true, true});
            return enter({before, after, true, true});
        }
        TRY_ASSIGN(const bool modified, is_modified(before, after));
        if (modified) {
            TRY(tell(change));
        }
        if (!after.is_directory()) return ok();
        return enter({before, after, modified, false});
    }

    /// A name for an inode that is as it was: only a directory can have news below it.
    Status perhaps_below(uint32_t number) {
        if (!changed_.worth_visiting(number)) return ok();
        TRY_ASSIGN(const Inode inode, after_.inode(number));
        if (!inode.is_directory()) return ok();
        return enter({inode, inode, false, false});
    }

    Result<Inode> inode_of(GuestFs& fs, const Name& name) {
        auto inode = fs.inode(name.inode);
        if (!inode) return std::move(inode).error().wrap("/" + path_);
        return inode;
    }

    Result<bool> is_modified(const Inode& before, const Inode& after) {
        if (before.mode != after.mode || before.uid != after.uid || before.gid != after.gid ||
            before.mtime != after.mtime) {
            return true;
        }
        // Whatever else changes a file, or how many names it has, leaves its mark there.
        if (!after.is_directory()) {
            return before.ctime != after.ctime || before.size != after.size ||
                   before.links != after.links;
        }
        TRY_ASSIGN(const auto old_xattrs, before_.xattrs(before));
        TRY_ASSIGN(const auto new_xattrs, after_.xattrs(after));
        return old_xattrs != new_xattrs;
    }

    /// Directories above are told first, the root too.
    Status tell(const Change& change) {
        size_t end = 0;
        for (size_t depth = 0; depth < levels_.size(); ++depth) {
            Level& level = levels_[depth];
            if (!level.told) {
                level.told = true;
                Change parent{Change::Kind::kParent, path_.substr(0, end), level.before,
                              level.after};
                TRY((*visit_)(parent));
            }
            end = path_.find('/', depth == 0 ? 0 : end + 1);
        }
        return (*visit_)(change);
    }

    std::unique_ptr<DiskPair> pair_;
    const DiffLimits limits_;
    GuestFs before_;
    GuestFs after_;
    ChangedInodes changed_;
    const Visit* visit_ = nullptr;
    std::vector<Level> levels_;
    std::string path_;
    uint64_t names_seen_ = 0;
    std::unordered_set<uint32_t> seen_before_;
    std::unordered_set<uint32_t> seen_after_;
};

TreeDiff::TreeDiff(std::unique_ptr<State> state) : state_(std::move(state)) {}
TreeDiff::TreeDiff(TreeDiff&&) noexcept = default;
TreeDiff& TreeDiff::operator=(TreeDiff&&) noexcept = default;
TreeDiff::~TreeDiff() = default;

Result<TreeDiff> TreeDiff::open(std::unique_ptr<DiskPair> pair, const DiffLimits& limits) {
    TRY_ASSIGN(GuestFs before, GuestFs::open(pair->before(), limits.reading));
    TRY_ASSIGN(GuestFs after, GuestFs::open(pair->after(), limits.reading));
    return TreeDiff(
        std::make_unique<State>(std::move(pair), limits, std::move(before), std::move(after)));
}

Status TreeDiff::walk(const Visit& visit) {
    return state_->walk(visit);
}
GuestFs& TreeDiff::before() {
    return state_->before();
}
GuestFs& TreeDiff::after() {
    return state_->after();
}
DiffStats TreeDiff::stats() const {
    return state_->stats();
}

}  // namespace drupe::imagefs
