#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "imagefs/ext4/directory.h"
#include "imagefs/ext4/entry.h"
#include "imagefs/ext4/filesystem.h"

namespace drupe::imagefs::ext4 {

/// The names of a file system while a layer is applied to it: finds paths, adds and removes
/// entries, and knows which entries the layer itself brought (whiteouts spare those). Directories
/// are held in memory, a bounded number of entries at a time, and written when they leave or at
/// flush().
class Tree {
  public:
    Tree(const Filesystem& fs, const ApplyLimits& limits) : fs_(fs), limits_(limits) {}

    /// Splits a path of an archive: "..", "." and slashes are dealt with lexically and can't lead
    /// above the image's root. Empty for the root itself.
    [[nodiscard]] Result<std::vector<std::string>> split(std::string_view path) const;

    enum class Missing { kCreate, kGiveUp };
    /// The directory that the last of these components lies in. Symlinks on the way (not the last
    /// component) are followed, inside the image. kCreate makes missing directories (0755, root)
    /// and marks the way as this layer's; kGiveUp gives nothing if there is no such directory.
    [[nodiscard]] Result<std::optional<ext2_ino_t>> parent_of(
        const std::vector<std::string>& components, Missing missing);

    [[nodiscard]] Result<std::optional<DirectoryEntry>> find(ext2_ino_t directory,
                                                             std::string_view name);
    /// Adds a name that isn't there yet and marks it as this layer's.
    [[nodiscard]] Status add(ext2_ino_t directory, std::string_view name, DirectoryEntry entry);
    void mark(ext2_ino_t directory, std::string_view name);
    [[nodiscard]] Result<ext2_ino_t> make_directory(ext2_ino_t parent, std::string_view name,
                                                    const Entry& entry);

    /// Removes a name and, if it was the last one, the file; of a directory everything below.
    [[nodiscard]] Status remove(ext2_ino_t directory, std::string_view name);
    /// A whiteout: removes what lower layers left under this name.
    [[nodiscard]] Status remove_lower(ext2_ino_t directory, std::string_view name);
    /// An opaque whiteout: removes what lower layers left in this directory.
    [[nodiscard]] Status clear_lower(ext2_ino_t directory);

    [[nodiscard]] Status flush();

  private:
    struct Step {
        ext2_ino_t ino = 0;
        ext2_ino_t parent = 0;
        std::string name;
    };

    [[nodiscard]] Result<Directory*> load(ext2_ino_t ino);
    [[nodiscard]] Result<std::optional<ext2_ino_t>> walk(std::vector<std::string> pending,
                                                         Missing missing);
    [[nodiscard]] Status drop_link(ext2_ino_t ino);
    [[nodiscard]] Status free_directory(ext2_ino_t ino);
    [[nodiscard]] static uint64_t mark_of(ext2_ino_t directory, std::string_view name);
    [[nodiscard]] bool is_marked(ext2_ino_t directory, std::string_view name) const {
        return marks_.contains(mark_of(directory, name));
    }

    const Filesystem& fs_;
    const ApplyLimits& limits_;
    std::map<ext2_ino_t, Directory> directories_;  // Ordered, so that writing them is, too.
    size_t cached_entries_ = 0;
    size_t since_flush_ = 0;                  ///< Paths looked up since the last one.
    uint64_t steps_ = 0;                      ///< Components walked, in all.
    std::unordered_set<ext2_ino_t> cleared_;  ///< Hold only marked entries; no need to look again.
    std::unordered_set<uint64_t> marks_;
    std::unordered_map<std::string, ext2_ino_t> known_parents_;
};

}  // namespace drupe::imagefs::ext4
