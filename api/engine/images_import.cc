// What the importer is needed for: images from files and folders.

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

#include "api/engine/clock.h"
#include "api/engine/images.h"
#include "imagefs/oci/reference.h"
#include "imagefs/store/sha256.h"

namespace drupe::engine {

Result<std::vector<std::string>> Images::load(const std::string& path, const std::string& tag,
                                              const Say& say) {
    TRY_ASSIGN(auto names, run_importer(paths_.importer, paths_.root, {"images", path, tag}, say));
    for (std::string& name : names) {
        if (const auto reference = imagefs::oci::Reference::parse(name)) {
            if (!name.starts_with("sha256:")) name = reference.value().familiar();
        }
    }
    return names;
}

Result<std::string> Images::import(const std::string& path, const std::string& reference,
                                   const Say& say, const CommitWords& words) {
    const bool reworded = !words.changes.empty() || !words.comment.empty();
    TRY(change_config("{}", words, 0));  // what is wrong with them is said before anything is done
    TRY_ASSIGN(const auto names, run_importer(paths_.importer, paths_.root,
                                              {"rootfs", path, reworded ? "" : reference}, say));
    if (names.empty()) return Error{ErrorCode::kCorrupt, "drupe-import named no image"};
    TRY_ASSIGN(const auto image, store_.resolve(names.front()));
    if (reworded) return reword(image, reference, words);
    return image.id.to_string();
}

Result<std::string> Images::reword(const imagefs::Image& image, const std::string& reference,
                                   const CommitWords& words) {
    TRY_ASSIGN(const Fd lease, store_.lease());
    imagefs::Image other;
    other.chain_id = image.chain_id;
    other.created_s = image.created_s;
    TRY_ASSIGN(other.config, change_config(image.config, words, realtime_ns()));
    other.id = imagefs::sha256(other.config);
    TRY(store_.put_image(other));
    if (!reference.empty()) {
        TRY_ASSIGN(const auto name, imagefs::oci::Reference::parse(reference));
        TRY(store_.tag(name.canonical(), other.id));
    }
    // The one that was imported keeps a name that it had before, if it did.
    if (image.tags.empty() && other.id != image.id) {
        const auto nobody = [](const std::string&) -> Result<std::vector<ImageUser>> {
            return std::vector<ImageUser>();
        };
        static_cast<void>(remove(image.id.to_string(), false, nobody));
    }
    return other.id.to_string();
}

Status Images::import_busybox() {
    // Of several commands at once on a new store, one does the work.
    TRY_ASSIGN(const Fd lock, open_file(paths_.run + "/import.lock", O_RDWR | O_CREAT, 0600));
    while (::flock(lock.get(), LOCK_EX) < 0) {
        if (errno != EINTR) return os_error("lock " + paths_.run + "/import.lock");
    }
    if (store_.resolve(kBuiltinImage)) return ok();
    const auto imported =
        run_importer(paths_.importer, paths_.root, {"busybox", paths_.busybox}, {});
    if (imported) return ok();
    return Error(imported.error()).wrap("make the built-in busybox image of " + paths_.busybox);
}

}  // namespace drupe::engine
