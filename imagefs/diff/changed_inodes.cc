#include "imagefs/diff/changed_inodes.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace drupe::imagefs {
namespace {

using guestfs::Geometry;
using guestfs::GuestFs;
using guestfs::Inode;
using guestfs::kBlockSize;
using guestfs::kFirstInode;
using guestfs::kInodeBytes;
using guestfs::kRootInode;

constexpr uint32_t kInodesPerBlock = kBlockSize / kInodeBytes;

/// A disk may have grown, and is otherwise as it was formatted.
Status check_same_layout(const Geometry& before, const Geometry& after) {
    const bool same = before.inodes_per_group == after.inodes_per_group &&
                      before.inode_tables.size() <= after.inode_tables.size() &&
                      std::equal(before.inode_tables.begin(), before.inode_tables.end(),
                                 after.inode_tables.begin());
    if (same) return ok();
    return Error{ErrorCode::kUnsupported,
                 "the disk's file system was made anew: it can't be compared with its image's"};
}

bool in_use(const Inode& inode) {
    return inode.links > 0 && inode.mode != 0;
}

}  // namespace

Status ChangedInodes::compare_block(uint32_t first, std::span<const std::byte> before,
                                    std::span<const std::byte> after) {
    for (uint32_t i = 0; i < kInodesPerBlock; ++i) {
        const uint32_t number = first + i;
        if (number != kRootInode && number < kFirstInode) continue;
        const size_t at = size_t{i} * kInodeBytes;
        if (std::memcmp(before.data() + at, after.data() + at, kInodeBytes) == 0) continue;
        const auto decode = [&](std::span<const std::byte> block) {
            return guestfs::decode_inode(
                number, std::span<const std::byte, kInodeBytes>(block.subspan(at, kInodeBytes)));
        };
        const Inode now = decode(after);
        if (!in_use(now) && !in_use(decode(before))) continue;
        uint32_t names = in_use(now) ? now.links : 0;
        if (names > 0 && now.is_directory()) {
            directories_.insert(number);
            names = number == kRootInode ? 0 : 1;
        }
        names_[number] = names;
        missing_ += names;
    }
    return ok();
}

Result<ChangedInodes> ChangedInodes::find(const DiskPair& pair, GuestFs& before, GuestFs& after) {
    TRY(check_same_layout(before.geometry(), after.geometry()));
    ChangedInodes changed;
    const Geometry& geometry = after.geometry();
    for (uint32_t group = 0; group < geometry.inode_tables.size(); ++group) {
        const bool old_group = group < before.geometry().inode_tables.size();
        const uint64_t table = geometry.inode_tables[group];
        for (uint32_t at = 0; at < geometry.table_blocks();) {
            TRY_ASSIGN(const DiskPair::Run run, pair.run(table + at, geometry.table_blocks() - at));
            const auto end = static_cast<uint32_t>(at + run.blocks);
            if (!run.may_differ) at = end;
            for (; at < end; ++at) {
                std::array<std::byte, kBlockSize> old_block{};
                if (old_group) {
                    TRY_ASSIGN(const auto block, before.metadata(table + at));
                    std::copy(block.begin(), block.end(), old_block.begin());
                }
                TRY_ASSIGN(const auto block, after.metadata(table + at));
                TRY(changed.compare_block(
                    group * geometry.inodes_per_group + at * kInodesPerBlock + 1, old_block,
                    block));
            }
        }
    }
    changed.by_kernels_ = pair.by_kernels();
    if (changed.by_kernels_) {
        TRY(changed.find_places(after));
    }
    return changed;
}

Status ChangedInodes::find_places(GuestFs& after) {
    on_the_way_.insert(kRootInode);
    for (const uint32_t directory : directories_) {
        // Ends at a place that is known: every step adds one.
        for (uint32_t at = directory; on_the_way_.insert(at).second;) {
            TRY_ASSIGN(const Inode inode, after.inode(at));
            TRY_ASSIGN(const guestfs::Directory content, after.directory(inode));
            at = content.parent;
        }
    }
    uint64_t elsewhere = missing_;
    for (const uint32_t directory : on_the_way_) {
        if (elsewhere == 0) break;
        TRY_ASSIGN(const Inode inode, after.inode(directory));
        TRY_ASSIGN(const guestfs::Directory content, after.directory(inode));
        for (const guestfs::Name& name : content.names) {
            if (elsewhere > 0 && contains(name.inode)) --elsewhere;
        }
    }
    known_places_ = elsewhere == 0;
    return ok();
}

}  // namespace drupe::imagefs
