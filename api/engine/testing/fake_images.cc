#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "api/engine/testing/fakes.h"

namespace drupe::engine::testing {
namespace {

Result<imagefs::DiskFiles> files() {
    imagefs::DiskFiles disk;
    TRY_ASSIGN(disk.index, open_file("/dev/null", O_RDONLY));
    TRY_ASSIGN(Fd layer, open_file("/dev/null", O_RDONLY));
    disk.layers.push_back(std::move(layer));
    disk.virtual_bytes = 1 << 30;
    return disk;
}

}  // namespace

Result<std::unique_ptr<FakeImages>> FakeImages::open(const std::string& root) {
    TRY(make_folders(root + "/tops", 0700));
    TRY_ASSIGN(auto db, imagefs::Database::open(root + "/drupe.db"));
    return std::unique_ptr<FakeImages>(new FakeImages(root, std::move(db)));
}

Result<ImageRef> FakeImages::resolve(std::string_view name) {
    const ImageRef image{"sha256:" + std::string(64, '1'), std::string(64, '2'), {}};
    ImageRef made{"sha256:" + std::string(64, '4'), std::string(64, '3'), {}};
    if (!committed.empty() && (name == "made" || name == made.id)) {
        made.config.cmd = {"sleep"};
        return made;
    }
    if (name != "image" && name != image.id) {
        return Error{ErrorCode::kNotFound, "No such image: " + std::string(name)};
    }
    return image;
}

Result<imagefs::DiskFiles> FakeImages::create_top(const std::string& id, const ImageRef&) {
    TRY(open_file(root_ + "/tops/" + id, O_WRONLY | O_CREAT | O_EXCL, 0600));
    return open_top(id);
}

Result<imagefs::DiskFiles> FakeImages::open_top(const std::string& id) {
    TRY_ASSIGN(auto disk, files());
    TRY_ASSIGN(disk.top_data, open_file(root_ + "/tops/" + id, O_RDWR));
    if (::flock(disk.top_data.get(), LOCK_EX | LOCK_NB) < 0)
        return Error{ErrorCode::kConflict, "the top is in use"};
    TRY_ASSIGN(disk.top_meta, open_file(root_ + "/tops/" + id, O_RDWR));
    return disk;
}

Result<bool> FakeImages::is_unwritten(const imagefs::DiskFiles& disk) {
    struct stat status {};
    if (::fstat(disk.top_data.get(), &status) < 0) return os_error("fstat a top");
    return status.st_size == 0;
}

Result<imagefs::DiskFiles> FakeImages::reset_top(const std::string& id, const ImageRef& image) {
    TRY(open_top(id));  // nobody has it
    TRY(remove_top(id));
    if (id.size() == kIdDigits) reset_to.push_back(image.chain);
    return create_top(id, image);
}

Result<imagefs::DiskFiles> FakeImages::open_read_only(const ImageRef&) {
    return files();
}

Status FakeImages::check_name(std::string_view) {
    return ok();
}

/// As the real one: nobody may have it open, and it is another file afterwards.
Result<SealedDisk> FakeImages::seal_top(const std::string& id) {
    if (!fail_seal_with.empty()) return Error{ErrorCode::kIo, fail_seal_with};
    const std::string path = root_ + "/tops/" + id;
    {
        TRY_ASSIGN(const Fd top, open_file(path, O_RDWR));
        if (::flock(top.get(), LOCK_EX | LOCK_NB) < 0)
            return Error{ErrorCode::kConflict, "the top is in use"};
    }
    TRY(remove_top(id));
    SealedDisk sealed{std::string(64, '3'), false, {}};
    TRY_ASSIGN(sealed.files, create_top(id, {}));
    return sealed;
}

Result<std::string> FakeImages::image_config(const std::string&) {
    return std::string(R"({"rootfs":{"diff_ids":[]}})");
}

Result<std::string> FakeImages::put_image(
    const SealedDisk& disk, const std::string&,
    const std::function<Result<std::string>(std::string_view diff_id)>& make_config) {
    TRY_ASSIGN(auto config, make_config("sha256:" + disk.chain));
    committed.push_back(std::move(config));
    return "sha256:" + std::string(64, '4');
}

Status FakeImages::remove_top(const std::string& id) {
    const std::string path = root_ + "/tops/" + id;
    if (::unlink(path.c_str()) < 0 && errno != ENOENT) return os_error("unlink " + path);
    return ok();
}

}  // namespace drupe::engine::testing
