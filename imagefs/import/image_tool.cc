// For the scripts in tests/images: puts images into a store and takes disks out of it, without the
// rest of Drupe.
//
//   image_tool load STORE PATH [REFERENCE]     an OCI layout or `docker save` archive
//   image_tool import STORE PATH REFERENCE     a root file system
//   image_tool busybox STORE PROGRAM
//   image_tool export STORE IMAGE FILE         the image's disk as a sparse raw file
//   image_tool verify STORE IMAGE

#include <fcntl.h>
#include <fmt/core.h>

#include <chrono>
#include <string>
#include <vector>

#include "base/log.h"
#include "imagefs/import/disk_export.h"
#include "imagefs/import/import.h"
#include "imagefs/oci/reference.h"

namespace drupe::imagefs {
namespace {

void show(const ImageSummary& image) {
    fmt::print("{} chain {} layers {} reused {} bytes {}", image.id.to_string(),
               image.chain_id.to_string(), image.layers, image.layers_reused, image.content_bytes);
    for (const std::string& reference : image.references) fmt::print(" {}", reference);
    fmt::print("\n");
}

Result<Image> find(Store& store, const std::string& name) {
    const auto reference = oci::Reference::parse(name);
    return store.resolve(reference ? reference.value().canonical() : name);
}

Status export_image(Store& store, const std::string& name, const std::string& path) {
    TRY_ASSIGN(const Image image, find(store, name));
    TRY_ASSIGN(DiskFiles files, store.open_chain(image.chain_id));
    TRY_ASSIGN(const auto disk, LayeredDisk::open(std::move(files)));
    TRY_ASSIGN(const Fd out, open_file(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
    return export_raw(*disk, out.get());
}

Status run(const std::vector<std::string>& words) {
    const auto is = [&](std::string_view command, size_t count) {
        return words.size() == count && words[0] == command;
    };
    if (words.size() < 3) return Error{ErrorCode::kInvalid, "see the comment in image_tool.cc"};
    TRY_ASSIGN(Store store, Store::open(words[1]));
    if (is("load", 3) || is("load", 4)) {
        ImportOptions options;
        if (words.size() == 4) options.reference = words[3];
        TRY_ASSIGN(const auto images, import_images(store, words[2], options, {}));
        for (const ImageSummary& image : images) show(image);
        return ok();
    }
    if (is("import", 4)) {
        ImportOptions options;
        options.reference = words[3];
        TRY_ASSIGN(const ImageSummary image, import_rootfs(store, words[2], options, {}));
        show(image);
        return ok();
    }
    if (is("busybox", 3)) {
        TRY_ASSIGN(const ImageSummary image, import_builtin_busybox(store, words[2]));
        show(image);
        return ok();
    }
    if (is("export", 4)) return export_image(store, words[2], words[3]);
    if (is("verify", 3)) {
        TRY_ASSIGN(const Image image, find(store, words[2]));
        return store.verify(image.chain_id);
    }
    return Error{ErrorCode::kInvalid, "unknown command or wrong number of arguments"};
}

}  // namespace
}  // namespace drupe::imagefs

int main(int argc, char** argv) {
    drupe::set_log_program("image_tool");
    const auto start = std::chrono::steady_clock::now();
    const auto status = drupe::imagefs::run({argv + 1, argv + argc});
    if (!status) {
        drupe::log(drupe::LogLevel::kError, "{}", status.error().message);
        return 1;
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    drupe::log(drupe::LogLevel::kInfo, "{:.3f} s", took.count());
    return 0;
}
