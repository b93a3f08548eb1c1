// What the importer is needed for: images from files and folders.

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

#include "api/engine/images.h"
#include "imagefs/oci/reference.h"

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
                                   const Say& say) {
    TRY_ASSIGN(const auto names,
               run_importer(paths_.importer, paths_.root, {"rootfs", path, reference}, say));
    if (names.empty()) return Error{ErrorCode::kCorrupt, "drupe-import named no image"};
    TRY_ASSIGN(const auto image, store_.resolve(names.front()));
    return image.id.to_string();
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
