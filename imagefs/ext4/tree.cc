#include "imagefs/ext4/tree.h"

#include <fmt/core.h>

#include <functional>

#include "imagefs/ext4/format.h"
#include "imagefs/ext4/inode.h"

namespace drupe::imagefs::ext4 {
namespace {

constexpr size_t kMaxName = 255;
constexpr int kMaxSymlinks = 40;  // As the kernel's MAXSYMLINKS.
constexpr size_t kMaxCachedEntries = 1'000'000;
/// One directory may have more than that: without a pause between two flushes it would be written
/// for every entry.
constexpr size_t kMinFlushDistance = 100'000;
/// Some minutes' work; far beyond any layer that doesn't aim at it with chains of symlinks.
constexpr uint64_t kMaxSteps = 500'000'000;
constexpr size_t kMaxKnownParents = 65536;

/// Appends the components of a path in reverse, so that the first one is at the back.
void push_components(std::string_view path, std::vector<std::string>& reversed) {
    size_t end = path.size();
    while (end > 0) {
        const size_t slash = path.rfind('/', end - 1);
        const size_t start = slash == std::string_view::npos ? 0 : slash + 1;
        if (end > start) reversed.emplace_back(path.substr(start, end - start));
        if (start == 0) break;
        end = start - 1;
    }
}

std::string join(const std::vector<std::string>& components, size_t count) {
    std::string path;
    for (size_t i = 0; i < count; ++i) path.append("/").append(components[i]);
    return path;
}

}  // namespace

Result<std::vector<std::string>> Tree::split(std::string_view path) const {
    if (path.size() > limits_.max_path_bytes) {
        return Error{ErrorCode::kLimit,
                     fmt::format("its path is longer than {} bytes", limits_.max_path_bytes)};
    }
    std::vector<std::string> reversed;
    push_components(path, reversed);
    std::vector<std::string> components;
    for (auto part = reversed.rbegin(); part != reversed.rend(); ++part) {
        if (part->size() > kMaxName) {
            return Error{ErrorCode::kLimit, "a name in its path is longer than 255 bytes"};
        }
        if (*part == ".") continue;
        if (*part != "..") {
            components.push_back(std::move(*part));
        } else if (!components.empty()) {
            components.pop_back();
        }
    }
    if (components.size() > limits_.max_depth) {
        return Error{ErrorCode::kLimit,
                     fmt::format("its path is deeper than {} directories", limits_.max_depth)};
    }
    return components;
}

Result<std::optional<ext2_ino_t>> Tree::parent_of(const std::vector<std::string>& components,
                                                  Missing missing) {
    // Nothing refers to a cached directory here.
    if (++since_flush_ > kMinFlushDistance && cached_entries_ > kMaxCachedEntries) {
        TRY(flush());
    }
    const std::string path = join(components, components.size() - 1);
    if (const auto known = known_parents_.find(path); known != known_parents_.end()) {
        return known->second;
    }
    TRY_ASSIGN(const auto found, walk({components.rbegin() + 1, components.rend()}, missing));
    if (missing == Missing::kCreate) {
        if (known_parents_.size() >= kMaxKnownParents) known_parents_.clear();
        known_parents_.emplace(path, found.value());
    }
    return found;
}

Result<std::optional<ext2_ino_t>> Tree::walk(std::vector<std::string> pending, Missing missing) {
    std::vector<Step> way;
    int symlinks = 0;
    while (!pending.empty()) {
        const std::string name = std::move(pending.back());
        pending.pop_back();
        if (++steps_ > kMaxSteps) {
            return Error{ErrorCode::kLimit, "the layer's paths take too long to follow"};
        }
        const ext2_ino_t here = way.empty() ? EXT2_ROOT_INO : way.back().ino;
        if (name == ".") continue;
        if (name == "..") {
            if (!way.empty()) way.pop_back();
            continue;
        }
        if (way.size() >= limits_.max_depth || name.size() > kMaxName) {
            return Error{ErrorCode::kLimit, "the directory it lies in is too deep or misnamed"};
        }
        TRY_ASSIGN(const std::optional<DirectoryEntry> entry, find(here, name));
        if (!entry) {
            if (missing == Missing::kGiveUp) return std::optional<ext2_ino_t>();
            Entry implied;
            implied.mode = 0755;
            implied.mtime = kFormatTime;
            TRY_ASSIGN(const ext2_ino_t made, make_directory(here, name, implied));
            way.push_back({made, here, name});
            continue;
        }
        TRY_ASSIGN(Inode inode, fs_.read_inode(entry->ino));
        if (is_directory(inode)) {
            way.push_back({entry->ino, here, name});
        } else if (is_symlink(inode)) {
            if (++symlinks > kMaxSymlinks) {
                return Error{ErrorCode::kInvalid, "too many symlinks on the way to it"};
            }
            TRY_ASSIGN(const std::string target, fs_.read_link(entry->ino, inode));
            if (!target.empty() && target.front() == '/') way.clear();
            push_components(target, pending);
        } else if (missing == Missing::kGiveUp) {
            return std::optional<ext2_ino_t>();
        } else {
            return Error{ErrorCode::kInvalid,
                         fmt::format("'{}' on the way to it is not a directory", name)};
        }
    }
    if (missing == Missing::kCreate) {
        for (const Step& step : way) mark(step.parent, step.name);
    }
    return std::optional<ext2_ino_t>(way.empty() ? EXT2_ROOT_INO : way.back().ino);
}

Result<std::optional<DirectoryEntry>> Tree::find(ext2_ino_t directory, std::string_view name) {
    TRY_ASSIGN(Directory * loaded, load(directory));
    const auto found = loaded->entries.find(name);
    if (found == loaded->entries.end()) return std::optional<DirectoryEntry>();
    return std::optional<DirectoryEntry>(found->second);
}

Status Tree::add(ext2_ino_t directory, std::string_view name, DirectoryEntry entry) {
    TRY_ASSIGN(Directory * loaded, load(directory));
    loaded->entries.insert_or_assign(std::string(name), entry);
    loaded->dirty = true;
    ++cached_entries_;
    mark(directory, name);
    return ok();
}

uint64_t Tree::mark_of(ext2_ino_t directory, std::string_view name) {
    return std::hash<std::string_view>{}(name) ^ uint64_t { directory } * 0x9E3779B97F4A7C15ULL;
}

void Tree::mark(ext2_ino_t directory, std::string_view name) {
    marks_.insert(mark_of(directory, name));
}

Result<ext2_ino_t> Tree::make_directory(ext2_ino_t parent, std::string_view name,
                                        const Entry& entry) {
    const Inode inode = make_inode(LINUX_S_IFDIR, entry);
    TRY_ASSIGN(const ext2_ino_t ino, fs_.allocate_inode(parent, inode.i_mode));
    TRY(fs_.write_inode(ino, inode));
    directories_[ino] = Directory{.ino = ino, .parent = parent, .entries = {}, .dirty = true};
    TRY(add(parent, name, {ino, EXT2_FT_DIR}));
    return ino;
}

Status Tree::drop_link(ext2_ino_t ino) {
    TRY_ASSIGN(Inode inode, fs_.read_inode(ino));
    if (inode.i_links_count > 0) --inode.i_links_count;
    if (inode.i_links_count > 0) return fs_.write_inode(ino, inode);
    return fs_.free_inode(ino, inode);
}

Status Tree::free_directory(ext2_ino_t ino) {
    directories_.erase(ino);
    cleared_.erase(ino);
    TRY_ASSIGN(Inode inode, fs_.read_inode(ino));
    inode.i_links_count = 0;
    return fs_.free_inode(ino, inode);
}

Status Tree::remove(ext2_ino_t directory, std::string_view name) {
    TRY_ASSIGN(Directory * parent, load(directory));
    const auto found = parent->entries.find(name);
    if (found == parent->entries.end()) return ok();
    const DirectoryEntry entry = found->second;
    marks_.erase(mark_of(directory, name));
    parent->entries.erase(found);
    parent->dirty = true;
    if (entry.type == EXT2_FT_SYMLINK || entry.type == EXT2_FT_DIR) known_parents_.clear();
    if (entry.type != EXT2_FT_DIR) return drop_link(entry.ino);

    std::vector<ext2_ino_t> doomed{entry.ino};
    while (!doomed.empty()) {
        const ext2_ino_t ino = doomed.back();
        doomed.pop_back();
        TRY_ASSIGN(const Directory* loaded, load(ino));
        for (const auto& [child, child_entry] : loaded->entries) {
            marks_.erase(mark_of(ino, child));
            if (child_entry.type == EXT2_FT_DIR) {
                doomed.push_back(child_entry.ino);
            } else {
                TRY(drop_link(child_entry.ino));
            }
        }
        TRY(free_directory(ino));
    }
    return ok();
}

Status Tree::remove_lower(ext2_ino_t directory, std::string_view name) {
    TRY_ASSIGN(const std::optional<DirectoryEntry> entry, find(directory, name));
    if (!entry) return ok();
    if (!is_marked(directory, name)) return remove(directory, name);
    return entry->type == EXT2_FT_DIR ? clear_lower(entry->ino) : ok();
}

Status Tree::clear_lower(ext2_ino_t directory) {
    // What has marked entries below is marked itself, so that an unmarked directory goes as a
    // whole.
    std::vector<ext2_ino_t> pending{directory};
    while (!pending.empty()) {
        const ext2_ino_t ino = pending.back();
        pending.pop_back();
        if (!cleared_.insert(ino).second) continue;
        TRY_ASSIGN(const Directory* loaded, load(ino));
        std::vector<std::string> lower;
        for (const auto& [name, entry] : loaded->entries) {
            if (!is_marked(ino, name)) {
                lower.push_back(name);
            } else if (entry.type == EXT2_FT_DIR) {
                pending.push_back(entry.ino);
            }
        }
        for (const std::string& name : lower) {
            TRY(remove(ino, name));
        }
    }
    return ok();
}

Result<Directory*> Tree::load(ext2_ino_t ino) {
    const auto cached = directories_.find(ino);
    if (cached != directories_.end()) return &cached->second;
    TRY_ASSIGN(Directory directory, load_directory(fs_, ino));
    cached_entries_ += directory.entries.size();
    return &directories_.emplace(ino, std::move(directory)).first->second;
}

Status Tree::flush() {
    for (const auto& [ino, directory] : directories_) {
        if (directory.dirty) {
            TRY(save_directory(fs_, directory));
        }
    }
    directories_.clear();
    cached_entries_ = 0;
    since_flush_ = 0;
    return ok();
}

}  // namespace drupe::imagefs::ext4
