#include "imagefs/diff/docker_diff.h"

#include <algorithm>

namespace drupe::imagefs {
namespace {

using guestfs::GuestFs;
using guestfs::Inode;
using guestfs::Time;

bool lies_in(std::string_view path, std::string_view directory) {
    return path.size() > directory.size() && path.starts_with(directory) &&
           path[directory.size()] == '/';
}

/// Archives may have dropped the nanoseconds.
bool same_time(const Time& a, const Time& b) {
    return a.seconds == b.seconds &&
           (a.nanoseconds == b.nanoseconds || a.nanoseconds == 0 || b.nanoseconds == 0);
}

bool same_device(const Inode& a, const Inode& b) {
    const auto one = guestfs::describe(a);
    const auto other = guestfs::describe(b);
    return !one || !other ||
           (one->device_major == other->device_major && one->device_minor == other->device_minor);
}

Result<std::string> capability(GuestFs& fs, const Inode& inode) {
    TRY_ASSIGN(const auto xattrs, fs.xattrs(inode));
    const auto found = std::find_if(xattrs.begin(), xattrs.end(), [](const auto& xattr) {
        return xattr.name == "security.capability";
    });
    return found == xattrs.end() ? std::string() : found->value;
}

}  // namespace

Result<bool> DockerDiff::differs(const Inode& before, const Inode& after) {
    if (before.mode != after.mode || before.uid != after.uid || before.gid != after.gid ||
        !same_device(before, after)) {
        return true;
    }
    if (!after.is_directory() &&
        (!same_time(before.mtime, after.mtime) || before.size != after.size)) {
        return true;
    }
    TRY_ASSIGN(const std::string old_capability, capability(diff_.before(), before));
    TRY_ASSIGN(const std::string new_capability, capability(diff_.after(), after));
    return old_capability != new_capability;
}

Status DockerDiff::add(const Change& change) {
    if (change.path.empty()) return ok();
    while (!directories_.empty() && !lies_in(change.path, directories_.back().path)) {
        directories_.pop_back();
    }
    char kind = 'C';
    if (change.kind == Change::Kind::kAdded) kind = 'A';
    if (change.kind == Change::Kind::kDeleted) kind = 'D';
    bool said = true;
    if (change.before && change.after) {
        TRY_ASSIGN(said, differs(*change.before, *change.after));
    }
    if (said) {
        for (Directory& directory : directories_) {
            if (directory.said) continue;
            directory.said = true;
            TRY(print_('C', "/" + directory.path));
        }
        TRY(print_(kind, "/" + change.path));
    }
    if (change.after && change.after->is_directory()) directories_.push_back({change.path, said});
    return ok();
}

}  // namespace drupe::imagefs
