#include "imagefs/ext4/journal.h"

#include <endian.h>
#include <ext2fs/ext2fs.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "imagefs/ext4/journal_inode.h"

namespace drupe::imagefs::ext4 {
namespace {

// The kernel's Documentation/filesystems/ext4/journal.rst; all numbers are big-endian.
constexpr uint32_t kMagic = 0xC03B3998;
constexpr uint32_t kDescriptor = 1;
constexpr uint32_t kCommit = 2;
constexpr uint32_t kSuperblockV2 = 4;
constexpr uint32_t kRevoke = 5;
constexpr uint32_t kHas64Bit = 0x2;
constexpr uint32_t kHasChecksumV2 = 0x8;
constexpr uint32_t kHasChecksumV3 = 0x10;
constexpr uint32_t kKnownFeatures = 0x1 /* revoke */ | kHas64Bit | kHasChecksumV2 | kHasChecksumV3;
constexpr uint32_t kTagEscaped = 1;
constexpr uint32_t kTagSameUuid = 2;
constexpr uint32_t kTagLast = 8;
constexpr size_t kHeaderBytes = 12;
constexpr size_t kUuidBytes = 16;
constexpr size_t kMaxRevokes = 1 << 20;

Error bad(std::string what) {
    return Error{ErrorCode::kCorrupt, "journal: " + std::move(what)};
}

uint32_t be32(const Block& block, size_t at) {
    uint32_t value = 0;
    std::memcpy(&value, block.data() + at, sizeof value);
    return be32toh(value);
}
uint32_t be16(const Block& block, size_t at) {
    uint16_t value = 0;
    std::memcpy(&value, block.data() + at, sizeof value);
    return be16toh(value);
}
void put_be32(Block& block, size_t at, uint32_t value) {
    value = htobe32(value);
    std::memcpy(block.data() + at, &value, sizeof value);
}

uint32_t crc(uint32_t seed, const void* data, size_t bytes) {
    return ext2fs_crc32c_le(seed, static_cast<const unsigned char*>(data), bytes);
}

/// Sequence numbers go round.
bool is_before(uint32_t a, uint32_t b) {
    return static_cast<int32_t>(a - b) < 0;
}

struct Tag {
    uint64_t lba = 0;
    uint32_t flags = 0;
    uint32_t checksum = 0;
};

class Journal {
  public:
    Journal(BlockDevice& device, Disk disk) : device_(device), disk_(std::move(disk)) {}

    [[nodiscard]] Status open();
    [[nodiscard]] bool empty() const { return start_ == 0; }
    [[nodiscard]] Status replay();
    [[nodiscard]] Status mark_empty();

  private:
    enum class Pass : uint8_t { kScan, kRevokes, kReplay };

    [[nodiscard]] bool has_checksums() const {
        return (features_ & (kHasChecksumV2 | kHasChecksumV3)) != 0;
    }
    [[nodiscard]] size_t tag_bytes() const {
        if ((features_ & kHasChecksumV3) != 0) return 16;
        return ((features_ & kHasChecksumV2) != 0 ? 10 : 8) +
               ((features_ & kHas64Bit) != 0 ? size_t{4} : size_t{0});
    }
    [[nodiscard]] Status read(uint32_t log_block, Block& out) {
        return device_.read_blocks(disk_.journal[log_block], out);
    }
    [[nodiscard]] uint32_t after(uint32_t log_block) const {
        return log_block + 1 == length_ ? first_ : log_block + 1;
    }
    [[nodiscard]] bool sum_matches(const Block& block, size_t sum_at) const;
    [[nodiscard]] std::vector<Tag> tags(const Block& descriptor) const;
    [[nodiscard]] Status pass(Pass which);
    [[nodiscard]] Status data(Pass which, const Tag& tag, uint32_t log_block);
    [[nodiscard]] Status revokes(const Block& block);

    BlockDevice& device_;
    Disk disk_;
    uint32_t features_ = 0;
    uint32_t length_ = 0;  ///< Blocks of the log, the superblock included.
    uint32_t first_ = 0;
    uint32_t start_ = 0;
    uint32_t sequence_ = 0;  ///< Of the first transaction.
    uint32_t end_ = 0;       ///< The first that isn't there; known after the scan.
    uint32_t now_ = 0;       ///< Of the one at hand.
    uint32_t seed_ = 0;
    std::unordered_map<uint64_t, uint32_t> revoked_;  ///< Block: last transaction that revoked it.
};

Status Journal::open() {
    Block super{};
    if (disk_.journal.empty()) return bad("it has no blocks");
    TRY(read(0, super));
    if (be32(super, 0) != kMagic || be32(super, 4) != kSuperblockV2) return bad("no superblock");
    features_ = be32(super, 40);
    if ((features_ & ~kKnownFeatures) != 0) {
        return Error{ErrorCode::kUnsupported,
                     fmt::format("journal: it has features {:#x}, of which {:#x} are known",
                                 features_, kKnownFeatures)};
    }
    length_ = be32(super, 16);
    first_ = be32(super, 20);
    sequence_ = be32(super, 24);
    start_ = be32(super, 28);
    if (be32(super, 12) != BlockDevice::kBlockSize || length_ > disk_.journal.size() ||
        first_ == 0 || first_ >= length_ || start_ >= length_ || (start_ != 0 && start_ < first_)) {
        return bad(fmt::format("a log of {} blocks from {}, started at {}, in a file of {}",
                               length_, first_, start_, disk_.journal.size()));
    }
    seed_ = crc(~0U, super.data() + 48, kUuidBytes);
    return ok();
}

bool Journal::sum_matches(const Block& block, size_t sum_at) const {
    if (!has_checksums()) return true;
    Block zeroed = block;
    put_be32(zeroed, sum_at, 0);
    return crc(seed_, zeroed.data(), zeroed.size()) == be32(block, sum_at);
}

std::vector<Tag> Journal::tags(const Block& descriptor) const {
    const size_t end = descriptor.size() - (has_checksums() ? sizeof(uint32_t) : 0);
    std::vector<Tag> tags;
    for (size_t at = kHeaderBytes; at + tag_bytes() <= end;) {
        Tag tag;
        tag.lba = be32(descriptor, at);
        if ((features_ & kHasChecksumV3) != 0) {
            tag.flags = be32(descriptor, at + 4);
            tag.checksum = be32(descriptor, at + 12);
        } else {
            tag.checksum = be16(descriptor, at + 4);
            tag.flags = be16(descriptor, at + 6);
        }
        if ((features_ & kHas64Bit) != 0) tag.lba |= uint64_t{be32(descriptor, at + 8)} << 32;
        tags.push_back(tag);
        at += tag_bytes() + ((tag.flags & kTagSameUuid) != 0 ? 0 : kUuidBytes);
        if ((tag.flags & kTagLast) != 0) break;
    }
    return tags;
}

/// Goes through the log. The scan finds its end: the first block that isn't what must come next.
/// The other passes go through whole transactions only.
Status Journal::pass(Pass which) {
    Block block{};
    uint32_t at = start_;
    now_ = sequence_;
    for (uint32_t seen = 0; seen < length_;) {
        if (which != Pass::kScan && now_ == end_) return ok();
        TRY(read(at, block));
        if (be32(block, 0) != kMagic || be32(block, 8) != now_) break;
        const uint32_t type = be32(block, 4);
        const size_t sum_at = type == kCommit ? 16 : block.size() - sizeof(uint32_t);
        if (type != kDescriptor && type != kCommit && type != kRevoke) break;
        if (!sum_matches(block, sum_at)) break;
        at = after(at);
        ++seen;
        if (type == kDescriptor) {
            for (const Tag& tag : tags(block)) {
                TRY(data(which, tag, at));
                at = after(at);
                ++seen;
            }
        } else if (type == kCommit) {
            ++now_;
        } else if (which == Pass::kRevokes) {
            TRY(revokes(block));
        }
    }
    if (which != Pass::kScan && now_ != end_) return bad("it changed while it was read");
    end_ = now_;
    return ok();
}

Status Journal::data(Pass which, const Tag& tag, uint32_t log_block) {
    if (which != Pass::kReplay) return ok();
    const auto revoke = revoked_.find(tag.lba);
    if (revoke != revoked_.end() && !is_before(revoke->second, now_)) return ok();
    if (tag.lba >= disk_.blocks) {
        return bad(fmt::format("transaction {} has block {} of a file system of {}", now_, tag.lba,
                               disk_.blocks));
    }
    Block block{};
    TRY(read(log_block, block));
    if (has_checksums()) {
        const uint32_t sequence = htobe32(now_);
        const uint32_t sum =
            crc(crc(seed_, &sequence, sizeof sequence), block.data(), block.size());
        const bool wide = (features_ & kHasChecksumV3) != 0;
        if ((wide ? sum : sum & 0xFFFF) != tag.checksum) {
            return bad(
                fmt::format("transaction {}: the checksum of block {} is wrong", now_, tag.lba));
        }
    }
    if ((tag.flags & kTagEscaped) != 0) put_be32(block, 0, kMagic);
    return device_.write_blocks(tag.lba, block);
}

Status Journal::revokes(const Block& block) {
    const size_t width = (features_ & kHas64Bit) != 0 ? 8 : 4;
    const size_t end = std::min<size_t>(be32(block, kHeaderBytes), block.size());
    for (size_t at = kHeaderBytes + sizeof(uint32_t); at + width <= end; at += width) {
        uint64_t lba = be32(block, at);
        if (width == 8) lba = lba << 32 | be32(block, at + 4);
        if (revoked_.size() == kMaxRevokes) {
            return Error{ErrorCode::kLimit,
                         fmt::format("journal: more than {} revoked blocks", kMaxRevokes)};
        }
        revoked_[lba] = now_;  // transactions come in order
    }
    return ok();
}

Status Journal::replay() {
    TRY(pass(Pass::kScan));
    TRY(pass(Pass::kRevokes));
    return pass(Pass::kReplay);
}

Status Journal::mark_empty() {
    constexpr size_t kSuperBytes = 1024;
    constexpr size_t kSumAt = 252;
    Block super{};
    TRY(read(0, super));
    put_be32(super, 24, end_ + 1);
    put_be32(super, 28, 0);
    if (has_checksums()) {
        put_be32(super, kSumAt, 0);
        put_be32(super, kSumAt, crc(~0U, super.data(), kSuperBytes));
    }
    return device_.write_blocks(disk_.journal[0], super);
}

}  // namespace

Status replay_journal(BlockDevice& device) {
    TRY_ASSIGN(const Disk disk, find_journal(device));
    if (!disk.needs_replay) return ok();
    Journal journal(device, disk);
    TRY(journal.open());
    if (!journal.empty()) {
        TRY(journal.replay());
        TRY(journal.mark_empty());
    }
    return clear_needs_replay(device);
}

}  // namespace drupe::imagefs::ext4
