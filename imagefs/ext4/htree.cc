// The on-disk format is the kernel's fs/ext4/namei.c (struct dx_root, dx_node, dx_entry).
#include "imagefs/ext4/htree.h"

#include <algorithm>
#include <cstring>
#include <tuple>

namespace drupe::imagefs::ext4 {
namespace {

constexpr size_t kBlockSize = BlockDevice::kBlockSize;
constexpr size_t kTail = 12;  // struct ext2_dir_entry_tail, the checksum at a linear block's end.
constexpr size_t kSpace = kBlockSize - kTail;
constexpr size_t kFilled = kSpace / 5 * 4;
constexpr size_t kDotsBytes = 24;
constexpr size_t kRootEntries = (kBlockSize - 32 - 8) / 8;
constexpr size_t kNodeEntries = (kBlockSize - 8 - 8) / 8;
constexpr size_t kNodeFilled = kNodeEntries / 5 * 4;

size_t record_bytes(size_t name_bytes) {
    return (8 + name_bytes + 3) & ~size_t{3};
}

template <class T>
void put(DirectoryBlock& block, size_t at, T value) {
    std::memcpy(block.data() + at, &value, sizeof value);
}

void put_record(DirectoryBlock& block, size_t at, DirectoryEntry entry, std::string_view name,
                size_t record) {
    put<uint32_t>(block, at, entry.ino);
    put<uint16_t>(block, at + 4, static_cast<uint16_t>(record));
    put<uint8_t>(block, at + 6, static_cast<uint8_t>(name.size()));
    put<uint8_t>(block, at + 7, entry.type);
    std::memcpy(block.data() + at + 8, name.data(), name.size());
}

/// Records one after the other; the last one reaches to the checksum.
class LinearBlock {
  public:
    [[nodiscard]] size_t used() const { return used_; }
    void add(DirectoryEntry entry, std::string_view name) {
        last_ = used_;
        put_record(block_, used_, entry, name, record_bytes(name.size()));
        used_ += record_bytes(name.size());
    }
    DirectoryBlock finish() {
        put<uint16_t>(block_, last_ + 4, static_cast<uint16_t>(kSpace - last_));
        put<uint16_t>(block_, kSpace + 4, static_cast<uint16_t>(kTail));
        put<uint8_t>(block_, kSpace + 7, EXT2_FT_DIR_CSUM_TAIL);
        return block_;
    }

  private:
    static constexpr uint8_t EXT2_FT_DIR_CSUM_TAIL = 0xDE;
    DirectoryBlock block_{};
    size_t used_ = 0;
    size_t last_ = 0;
};

struct Hashed {
    uint32_t hash = 0;
    uint32_t minor = 0;
    std::string_view name;
    DirectoryEntry entry;
};

struct Leaf {
    uint32_t first_hash = 0;  // Bit 0 set: goes on with the hash that the leaf before ends with.
    LinearBlock block;
};

Result<std::vector<Hashed>> hash_names(const ext2_super_block& super, const Directory& directory) {
    int version = super.s_def_hash_version;
    if (version <= EXT2_HASH_TEA && (super.s_flags & EXT2_FLAGS_UNSIGNED_HASH) != 0) version += 3;
    std::vector<Hashed> list;
    list.reserve(directory.entries.size());
    for (const auto& [name, entry] : directory.entries) {
        Hashed item{.name = name, .entry = entry};
        TRY(check_ext2(ext2fs_dirhash2(version, name.data(), static_cast<int>(name.size()), nullptr,
                                       0, super.s_hash_seed, &item.hash, &item.minor),
                       "hash a name"));
        list.push_back(item);
    }
    std::sort(list.begin(), list.end(), [](const Hashed& a, const Hashed& b) {
        return std::tie(a.hash, a.minor, a.name) < std::tie(b.hash, b.minor, b.name);
    });
    return list;
}

std::vector<Leaf> make_leaves(const std::vector<Hashed>& list) {
    std::vector<Leaf> leaves(1);
    uint32_t previous = 0;
    for (const Hashed& item : list) {
        if (leaves.back().block.used() + record_bytes(item.name.size()) > kFilled) {
            leaves.emplace_back();
            leaves.back().first_hash = item.hash | (item.hash == previous ? 1 : 0);
        }
        leaves.back().block.add(item.entry, item.name);
        previous = item.hash;
    }
    return leaves;
}

/// dx_entry array at `at`: the first one's hash is where limit and count are kept.
void put_index(DirectoryBlock& block, size_t at, size_t limit,
               const std::vector<std::pair<uint32_t, uint32_t>>& entries) {
    put<uint16_t>(block, at, static_cast<uint16_t>(limit));
    put<uint16_t>(block, at + 2, static_cast<uint16_t>(entries.size()));
    for (size_t i = 0; i < entries.size(); ++i) {
        if (i > 0) put<uint32_t>(block, at + i * 8, entries[i].first);
        put<uint32_t>(block, at + i * 8 + 4, entries[i].second);
    }
}

DirectoryBlock make_root(const ext2_super_block& super, const Directory& directory, uint8_t levels,
                         const std::vector<std::pair<uint32_t, uint32_t>>& entries) {
    DirectoryBlock block{};
    put_record(block, 0, {directory.ino, EXT2_FT_DIR}, ".", 12);
    put_record(block, 12, {directory.parent, EXT2_FT_DIR}, "..", kBlockSize - 12);
    put<uint8_t>(block, 28, super.s_def_hash_version);
    put<uint8_t>(block, 29, 8);  // Length of this dx_root_info.
    put<uint8_t>(block, 30, levels);
    put_index(block, 32, kRootEntries, entries);
    return block;
}

Result<DirectoryImage> lay_out_tree(const ext2_super_block& super, const Directory& directory) {
    TRY_ASSIGN(const std::vector<Hashed> list, hash_names(super, directory));
    std::vector<Leaf> leaves = make_leaves(list);
    const size_t nodes =
        leaves.size() <= kRootEntries ? 0 : (leaves.size() + kNodeFilled - 1) / kNodeFilled;
    if (nodes > kRootEntries) {
        return Error{ErrorCode::kLimit, "a directory has more entries than ext4 can index"};
    }
    std::vector<std::pair<uint32_t, uint32_t>> entries;
    for (size_t i = 0; i < leaves.size(); ++i) {
        entries.emplace_back(leaves[i].first_hash, static_cast<uint32_t>(1 + nodes + i));
    }
    DirectoryImage image{.blocks = {}, .indexed = true};
    if (nodes == 0) {
        image.blocks.push_back(make_root(super, directory, 0, entries));
    } else {
        std::vector<std::pair<uint32_t, uint32_t>> root;
        std::vector<DirectoryBlock> node_blocks(nodes);
        for (size_t i = 0; i < nodes; ++i) {
            const auto from = entries.begin() + static_cast<ptrdiff_t>(i * kNodeFilled);
            const auto to = entries.begin() +
                            static_cast<ptrdiff_t>(std::min((i + 1) * kNodeFilled, entries.size()));
            put<uint16_t>(node_blocks[i], 4, static_cast<uint16_t>(kBlockSize));
            put_index(node_blocks[i], 8, kNodeEntries, {from, to});
            root.emplace_back(from->first, static_cast<uint32_t>(1 + i));
        }
        image.blocks.push_back(make_root(super, directory, 1, root));
        image.blocks.insert(image.blocks.end(), node_blocks.begin(), node_blocks.end());
    }
    for (Leaf& leaf : leaves) image.blocks.push_back(leaf.block.finish());
    return image;
}

}  // namespace

Result<DirectoryImage> lay_out_directory(const ext2_super_block& super,
                                         const Directory& directory) {
    size_t linear = kDotsBytes;
    for (const auto& [name, entry] : directory.entries) linear += record_bytes(name.size());
    if (linear > kSpace) return lay_out_tree(super, directory);
    LinearBlock block;
    block.add({directory.ino, EXT2_FT_DIR}, ".");
    block.add({directory.parent, EXT2_FT_DIR}, "..");
    for (const auto& [name, entry] : directory.entries) block.add(entry, name);
    DirectoryImage image;
    image.blocks.push_back(block.finish());
    return image;
}

}  // namespace drupe::imagefs::ext4
