#include "imagefs/ext4/layer_applier.h"

#include <fmt/core.h>

#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "imagefs/ext4/file_content.h"
#include "imagefs/ext4/filesystem.h"
#include "imagefs/ext4/format.h"
#include "imagefs/ext4/inode.h"
#include "imagefs/ext4/tree.h"

namespace drupe::imagefs::ext4 {
namespace {

constexpr size_t kBlockSize = BlockDevice::kBlockSize;
constexpr uint16_t kMaxLinks = 65000;
constexpr uint64_t kMaxFileBytes = (uint64_t{16} << 40) - kBlockSize;
constexpr uint32_t kNoId = 0xffffffff;
constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";
constexpr std::string_view kAufsPrivate = ".wh..wh.";

uint8_t entry_type_of(const Inode& inode) {
    switch (inode.i_mode & LINUX_S_IFMT) {
        case LINUX_S_IFREG:
            return EXT2_FT_REG_FILE;
        case LINUX_S_IFLNK:
            return EXT2_FT_SYMLINK;
        case LINUX_S_IFCHR:
            return EXT2_FT_CHRDEV;
        case LINUX_S_IFBLK:
            return EXT2_FT_BLKDEV;
        case LINUX_S_IFIFO:
            return EXT2_FT_FIFO;
        case LINUX_S_IFSOCK:
            return EXT2_FT_SOCK;
        default:
            return EXT2_FT_UNKNOWN;
    }
}

}  // namespace

class LayerApplier::State {
  public:
    State(Filesystem fs, const ApplyLimits& limits)
        : limits_(limits), fs_(std::move(fs)), tree_(fs_, limits_), writer_(fs_) {}

    Status apply(const Entry& entry, ContentReader& content);
    Status apply_deferred_links();
    Result<ApplyStats> finish();

  private:
    struct Target {
        ext2_ino_t directory = 0;
        std::string name;
        std::optional<DirectoryEntry> existing;
    };
    struct DeferredLink {
        std::string path;
        std::vector<std::string> components;
        std::string target;
    };

    Status check_entry(const Entry& entry);
    Status apply_to_root(const Entry& entry);
    Status apply_whiteout(const std::vector<std::string>& components);
    Status apply_at(const Entry& entry, const Target& at,
                    const std::vector<std::string>& components, ContentReader& content);
    Status apply_directory(const Entry& entry, const Target& at);
    Status apply_file(const Entry& entry, const Target& at, ContentReader& content);
    Status apply_hardlink(const Entry& entry, const Target& at,
                          const std::vector<std::string>& components);
    Status apply_symlink(const Entry& entry, const Target& at);
    Status apply_special(const Entry& entry, const Target& at);
    Result<bool> rewrite_file(const Entry& entry, const Target& at, ContentReader& content);
    /// False if the target doesn't exist (yet).
    Result<bool> link(ext2_ino_t directory, std::string_view name, const std::string& target);
    Status remove_existing(const Target& at) {
        return at.existing ? tree_.remove(at.directory, at.name) : ok();
    }
    Result<ext2_ino_t> add_inode(const Target& at, const Inode& inode);
    /// Makes the inode's attributes exactly the entry's.
    Status replace_xattrs(ext2_ino_t ino, bool is_new);

    const ApplyLimits limits_;
    Filesystem fs_;
    Tree tree_;
    ContentWriter writer_;
    std::vector<DeferredLink> deferred_;
    std::vector<Xattr> xattrs_;  // Of the entry at hand.
    ApplyStats stats_;
};

Status LayerApplier::State::check_entry(const Entry& entry) {
    if (++stats_.entries > limits_.max_entries) {
        return Error{ErrorCode::kLimit,
                     fmt::format("the layer has more than {} entries", limits_.max_entries)};
    }
    if (entry.uid == kNoId || entry.gid == kNoId) {
        return Error{ErrorCode::kInvalid, "its owner or group is -1"};
    }
    if (entry.size > kMaxFileBytes) {
        return Error{ErrorCode::kLimit, "it is larger than ext4 allows (16 TiB)"};
    }
    TRY_ASSIGN(xattrs_, accepted_xattrs(entry, limits_));
    return ok();
}

Status LayerApplier::State::apply(const Entry& entry, ContentReader& content) {
    TRY(check_entry(entry));
    TRY_ASSIGN(const std::vector<std::string> components, tree_.split(entry.path));
    if (components.empty()) return apply_to_root(entry);
    const std::string& name = components.back();
    if (name.compare(0, kWhiteout.size(), kWhiteout) == 0) return apply_whiteout(components);

    TRY_ASSIGN(const auto directory, tree_.parent_of(components, Tree::Missing::kCreate));
    Target at{directory.value(), name, std::nullopt};
    TRY_ASSIGN(at.existing, tree_.find(at.directory, at.name));
    TRY(apply_at(entry, at, components, content));
    if (writer_.bytes() > limits_.max_content_bytes) {
        return Error{ErrorCode::kLimit, fmt::format("the layer's files hold more than {} bytes",
                                                    limits_.max_content_bytes)};
    }
    return ok();
}

Status LayerApplier::State::apply_at(const Entry& entry, const Target& at,
                                     const std::vector<std::string>& components,
                                     ContentReader& content) {
    switch (entry.type) {
        case EntryType::kDirectory:
            return apply_directory(entry, at);
        case EntryType::kFile:
            return apply_file(entry, at, content);
        case EntryType::kHardlink:
            return apply_hardlink(entry, at, components);
        case EntryType::kSymlink:
            return apply_symlink(entry, at);
        case EntryType::kCharDevice:
        case EntryType::kBlockDevice:
        case EntryType::kFifo:
            return apply_special(entry, at);
    }
    return Error{ErrorCode::kInternal, "an unknown type of entry"};
}

Status LayerApplier::State::apply_to_root(const Entry& entry) {
    if (entry.type != EntryType::kDirectory) {
        return Error{ErrorCode::kInvalid, "the image's root can only be a directory"};
    }
    TRY_ASSIGN(Inode inode, fs_.read_inode(EXT2_ROOT_INO));
    set_metadata(inode, entry);
    TRY(fs_.write_inode(EXT2_ROOT_INO, inode));
    ++stats_.directories;
    return replace_xattrs(EXT2_ROOT_INO, false);
}

Status LayerApplier::State::apply_whiteout(const std::vector<std::string>& components) {
    ++stats_.whiteouts;
    const std::string& name = components.back();
    TRY_ASSIGN(const auto directory, tree_.parent_of(components, Tree::Missing::kGiveUp));
    if (!directory) return ok();
    if (name == kOpaque) return tree_.clear_lower(*directory);
    if (name.compare(0, kAufsPrivate.size(), kAufsPrivate) == 0) return ok();
    const std::string hidden = name.substr(kWhiteout.size());
    if (hidden.empty() || hidden == "." || hidden == "..") {
        return Error{ErrorCode::kInvalid, "a whiteout that names nothing"};
    }
    return tree_.remove_lower(*directory, hidden);
}

Status LayerApplier::State::replace_xattrs(ext2_ino_t ino, bool is_new) {
    if (is_new) return xattrs_.empty() ? ok() : fs_.set_xattrs(ino, xattrs_);
    TRY_ASSIGN(const std::vector<Xattr> old, fs_.xattrs(ino));
    return old == xattrs_ ? ok() : fs_.set_xattrs(ino, xattrs_);
}

Result<ext2_ino_t> LayerApplier::State::add_inode(const Target& at, const Inode& inode) {
    TRY_ASSIGN(const ext2_ino_t ino, fs_.allocate_inode(at.directory, inode.i_mode));
    TRY(fs_.write_inode(ino, inode));
    TRY(tree_.add(at.directory, at.name, {ino, entry_type_of(inode)}));
    return ino;
}

Status LayerApplier::State::apply_directory(const Entry& entry, const Target& at) {
    ++stats_.directories;
    if (at.existing && at.existing->type == EXT2_FT_DIR) {
        TRY_ASSIGN(Inode inode, fs_.read_inode(at.existing->ino));
        set_metadata(inode, entry);
        TRY(fs_.write_inode(at.existing->ino, inode));
        tree_.mark(at.directory, at.name);
        return replace_xattrs(at.existing->ino, false);
    }
    TRY(remove_existing(at));
    TRY_ASSIGN(const ext2_ino_t ino, tree_.make_directory(at.directory, at.name, entry));
    return replace_xattrs(ino, true);
}

Status LayerApplier::State::apply_file(const Entry& entry, const Target& at,
                                       ContentReader& content) {
    ++stats_.files;
    TRY_ASSIGN(const bool rewritten, rewrite_file(entry, at, content));
    if (rewritten) return ok();
    TRY(remove_existing(at));
    Inode inode = make_inode(LINUX_S_IFREG, entry);
    inode.i_size = static_cast<uint32_t>(entry.size);
    inode.i_size_high = static_cast<uint32_t>(entry.size >> 32);
    TRY_ASSIGN(const ext2_ino_t ino, add_inode(at, inode));
    if (entry.size > 0) {
        TRY(writer_.write(ino, inode, entry.size, content));
        TRY(fs_.write_inode(ino, inode));
    }
    return replace_xattrs(ino, true);
}

Result<bool> LayerApplier::State::rewrite_file(const Entry& entry, const Target& at,
                                               ContentReader& content) {
    if (!at.existing || at.existing->type != EXT2_FT_REG_FILE || entry.size == 0) return false;
    const ext2_ino_t ino = at.existing->ino;
    TRY_ASSIGN(Inode inode, fs_.read_inode(ino));
    if (!is_regular(inode) || inode.i_links_count != 1 || inode_size(inode) != entry.size ||
        !writer_.can_rewrite(ino, inode)) {
        return false;
    }
    TRY(writer_.rewrite(ino, inode, entry.size, content));
    set_metadata(inode, entry);
    TRY(fs_.write_inode(ino, inode));
    tree_.mark(at.directory, at.name);
    ++stats_.rewritten_in_place;
    TRY(replace_xattrs(ino, false));
    return true;
}

Status LayerApplier::State::apply_symlink(const Entry& entry, const Target& at) {
    ++stats_.symlinks;
    if (entry.target.empty() || entry.target.size() >= kBlockSize) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("a symlink's target has {} bytes; 1 to 4095 are allowed",
                                 entry.target.size())};
    }
    TRY(remove_existing(at));
    Entry open_to_all = entry;
    open_to_all.mode = 0777;
    const bool is_short = entry.target.size() < sizeof Inode{}.i_block;
    Inode inode = is_short ? make_inode_without_blocks(LINUX_S_IFLNK, open_to_all)
                           : make_inode(LINUX_S_IFLNK, open_to_all);
    inode.i_size = static_cast<uint32_t>(entry.target.size());
    if (is_short) std::memcpy(inode.i_block, entry.target.data(), entry.target.size());
    TRY_ASSIGN(const ext2_ino_t ino, add_inode(at, inode));
    if (!is_short) {
        class Text final : public ContentReader {
          public:
            explicit Text(std::string_view text) : text_(text) {}
            Result<ContentPiece> next() override {
                return ContentPiece{0, std::as_bytes(std::span(std::exchange(text_, {})))};
            }

          private:
            std::string_view text_;
        } text(entry.target);
        TRY(writer_.write(ino, inode, entry.target.size(), text));
        TRY(fs_.write_inode(ino, inode));
    }
    return replace_xattrs(ino, true);
}

Status LayerApplier::State::apply_special(const Entry& entry, const Target& at) {
    ++stats_.devices;
    const uint16_t type = entry.type == EntryType::kFifo         ? LINUX_S_IFIFO
                          : entry.type == EntryType::kCharDevice ? LINUX_S_IFCHR
                                                                 : LINUX_S_IFBLK;
    Inode inode = make_inode_without_blocks(type, entry);
    if (entry.type != EntryType::kFifo) {
        TRY(set_device(inode, entry.device_major, entry.device_minor));
    }
    TRY(remove_existing(at));
    TRY_ASSIGN(const ext2_ino_t ino, add_inode(at, inode));
    return replace_xattrs(ino, true);
}

Status LayerApplier::State::apply_hardlink(const Entry& entry, const Target& at,
                                           const std::vector<std::string>& components) {
    ++stats_.hardlinks;
    // A directory in the way goes first: the target may lie inside it.
    if (at.existing && at.existing->type == EXT2_FT_DIR) {
        TRY(remove_existing(at));
    }
    TRY_ASSIGN(const bool linked, link(at.directory, at.name, entry.target));
    if (linked) return ok();
    if (deferred_.size() >= limits_.max_deferred_links) {
        return Error{ErrorCode::kLimit,
                     fmt::format("more than {} hard links come before what they link to",
                                 limits_.max_deferred_links)};
    }
    TRY(tree_.remove(at.directory, at.name));
    deferred_.push_back({entry.path, components, entry.target});
    return ok();
}

Result<bool> LayerApplier::State::link(ext2_ino_t directory, std::string_view name,
                                       const std::string& target) {
    TRY_ASSIGN(const std::vector<std::string> components, tree_.split(target));
    if (components.empty()) return Error{ErrorCode::kInvalid, "a hard link to the image's root"};
    TRY_ASSIGN(const auto parent, tree_.parent_of(components, Tree::Missing::kGiveUp));
    if (!parent) return false;
    TRY_ASSIGN(const auto found, tree_.find(*parent, components.back()));
    if (!found) return false;
    TRY_ASSIGN(Inode inode, fs_.read_inode(found->ino));
    if (is_directory(inode)) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("a hard link to the directory {}", printable_path(target))};
    }
    TRY_ASSIGN(const auto existing, tree_.find(directory, name));
    if (existing && existing->ino == found->ino) {
        tree_.mark(directory, name);
        return true;
    }
    TRY(tree_.remove(directory, name));
    TRY_ASSIGN(inode, fs_.read_inode(found->ino));
    if (inode.i_links_count >= kMaxLinks) {
        return Error{ErrorCode::kLimit, "a file has more than 65000 hard links"};
    }
    ++inode.i_links_count;
    TRY(fs_.write_inode(found->ino, inode));
    TRY(tree_.add(directory, name, {found->ino, entry_type_of(inode)}));
    return true;
}

/// Links may point at other deferred links, so that it goes on as long as a round makes any.
Status LayerApplier::State::apply_deferred_links() {
    constexpr int kMaxRounds = 16;
    for (int round = 0; round < kMaxRounds && !deferred_.empty(); ++round) {
        std::vector<DeferredLink> missing;
        for (DeferredLink& deferred : deferred_) {
            TRY_ASSIGN(const auto parent,
                       tree_.parent_of(deferred.components, Tree::Missing::kCreate));
            const std::string& name = deferred.components.back();
            TRY_ASSIGN(const auto later, tree_.find(parent.value(), name));
            if (later) continue;  // A later entry of the same path counts.
            auto linked = link(parent.value(), name, deferred.target);
            if (!linked) {
                return std::move(linked).error().wrap(printable_path(deferred.path));
            }
            if (!linked.value()) missing.push_back(std::move(deferred));
        }
        const bool stuck = missing.size() == deferred_.size();
        deferred_ = std::move(missing);
        if (stuck) break;
    }
    if (deferred_.empty()) return ok();
    return Error{ErrorCode::kInvalid, fmt::format("{}: a hard link to {}, which does not exist",
                                                  printable_path(deferred_.front().path),
                                                  printable_path(deferred_.front().target))};
}

Result<ApplyStats> LayerApplier::State::finish() {
    TRY(apply_deferred_links());
    TRY(tree_.flush());
    TRY(fs_.close());
    stats_.content_bytes = writer_.bytes();
    return stats_;
}

Result<LayerApplier> LayerApplier::open(BlockDevice& device, const ApplyLimits& limits) {
    TRY_ASSIGN(Filesystem fs, Filesystem::open(device, Filesystem::Access::kReadWrite));
    return LayerApplier(std::make_unique<State>(std::move(fs), limits));
}

LayerApplier::LayerApplier(std::unique_ptr<State> state) : state_(std::move(state)) {}
LayerApplier::LayerApplier(LayerApplier&&) noexcept = default;
LayerApplier& LayerApplier::operator=(LayerApplier&&) noexcept = default;
LayerApplier::~LayerApplier() = default;

Status LayerApplier::apply(const Entry& entry, ContentReader& content) {
    Status status = state_->apply(entry, content);
    if (status) return ok();
    return std::move(status).error().wrap("layer entry " + printable_path(entry.path));
}

Result<ApplyStats> LayerApplier::finish() {
    return state_->finish();
}

std::string printable_path(std::string_view path) {
    constexpr size_t kMaxShown = 200;
    std::string text = "'";
    for (const char c : path.substr(0, kMaxShown)) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte >= 0x20 && byte < 0x7f && c != '\'' && c != '\\') {
            text.push_back(c);
        } else {
            text += fmt::format("\\x{:02x}", byte);
        }
    }
    if (path.size() > kMaxShown) text += "...";
    return text + "'";
}

}  // namespace drupe::imagefs::ext4
