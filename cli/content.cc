// drupe diff, export and save: what is in containers and images.

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <vector>

#include "api/engine/local.h"
#include "base/fd.h"
#include "cli/command.h"
#include "cli/session.h"

namespace drupe::cli {
namespace {

constexpr size_t kCopyBytes = 256 << 10;

/// Where an archive goes: a file that appears under its name when it is complete, or standard
/// output.
class ArchiveOutput {
  public:
    ArchiveOutput() = default;
    ArchiveOutput(const ArchiveOutput&) = delete;
    ArchiveOutput& operator=(const ArchiveOutput&) = delete;
    ~ArchiveOutput() {
        if (!unfinished_.empty()) ::unlink(unfinished_.c_str());
    }

    Status open(const std::string& path, std::string_view what) {
        if (path.empty() || path == "-") {
            if (::isatty(STDOUT_FILENO) == 0) return ok();
            return Error{ErrorCode::kInvalid, "cowardly refusing to " + std::string(what) +
                                                  " to a terminal. Use the -o flag or redirect"};
        }
        path_ = path;
        const std::string unfinished = path + ".part-" + std::to_string(::getpid());
        TRY_ASSIGN(file_, open_file(unfinished, O_WRONLY | O_CREAT | O_EXCL, 0600));
        unfinished_ = unfinished;
        return ok();
    }
    Status write(std::string_view bytes) {
        const int fd = file_.valid() ? file_.get() : STDOUT_FILENO;
        return write_all(fd, std::as_bytes(std::span(bytes)));
    }
    Status finish() {
        if (!file_.valid()) return ok();
        if (::fsync(file_.get()) < 0) return os_error("write " + path_);
        if (::rename(unfinished_.c_str(), path_.c_str()) < 0) return os_error("write " + path_);
        unfinished_.clear();
        return ok();
    }

  private:
    Fd file_;
    std::string path_;
    std::string unfinished_;
};

Status copy(imagefs::ByteSource& from, ArchiveOutput& to) {
    std::vector<std::byte> buffer(kCopyBytes);
    for (;;) {
        TRY_ASSIGN(const size_t got, from.read(buffer));
        if (got == 0) return to.finish();
        TRY(to.write({reinterpret_cast<const char*>(buffer.data()), got}));
    }
}

Status export_container(engine::Local& local, const std::string& name, const std::string& path) {
    TRY_ASSIGN(const auto container, local.engine->find(name));
    ArchiveOutput output;
    TRY(output.open(path, "export"));
    TRY_ASSIGN(const auto tar, local.images->export_files(container, nullptr));
    return copy(*tar, output);
}

Status save_images(engine::Local& local, const std::vector<std::string>& names,
                   imagefs::ArchiveFormat format, const std::string& path) {
    ArchiveOutput output;
    TRY(output.open(path, "save"));
    TRY(local.images->save(names, format,
                           [&](std::string_view bytes) { return output.write(bytes); }));
    return output.finish();
}

}  // namespace

int diff_command(int argc, char** argv) {
    std::vector<std::string> names;
    Args args("diff", "CONTAINER",
              "List files that were added (A), changed (C) or deleted (D) in a container since it "
              "was made from its image.");
    args.operands(names, 1, 1);
    args.example("drupe diff web", "what web wrote");
    if (const auto code = args.parse(argc, argv)) return *code;
    auto local = open_engine();
    if (!local) return fail(local.error());
    const auto container = local.value()->engine->find(names.front());
    if (!container) return fail(container.error());
    std::string text;
    const auto done = local.value()->images->diff(container.value(), nullptr,
                                                  [&](char kind, std::string_view path) -> Status {
                                                      text += kind;
                                                      text += ' ';
                                                      text += path;
                                                      text += '\n';
                                                      return ok();
                                                  });
    return done ? print(text) : fail(done.error());
}

int export_command(int argc, char** argv) {
    std::vector<std::string> names;
    std::string path;
    Args args("export", "CONTAINER", "Write all files of a container as a tar.");
    args.value("-o,--output", "FILE", path, "The tar (default: standard output)");
    args.operands(names, 1, 1);
    args.example("drupe export web | tar -t", "the names of all files");
    if (const auto code = args.parse(argc, argv)) return *code;
    auto local = open_engine();
    if (!local) return fail(local.error());
    const auto done = export_container(*local.value(), names.front(), path);
    return done ? 0 : fail(done.error());
}

int save_command(int argc, char** argv) {
    std::vector<std::string> names;
    std::string path;
    std::string format = "docker-archive";
    Args args("save", "IMAGE [IMAGE...]",
              "Write images to an archive, for drupe load, docker load, skopeo and podman.");
    args.value("-o,--output", "FILE", path, "The archive (default: standard output)");
    args.value("--format", "FORMAT", format, "docker-archive or oci");
    args.operands(names, 1, SIZE_MAX);
    args.example("drupe save -o app.tar app:1 app:2", "two images, what they share once");
    args.example("drupe save app:1 | ssh host docker load", "to a Docker elsewhere");
    if (const auto code = args.parse(argc, argv)) return *code;
    if (format != "docker-archive" && format != "oci") {
        return fail({ErrorCode::kInvalid, "--format is 'docker-archive' or 'oci'"}, kUsageError);
    }
    auto local = open_engine();
    if (!local) return fail(local.error());
    const auto done = save_images(
        *local.value(), names,
        format == "oci" ? imagefs::ArchiveFormat::kOci : imagefs::ArchiveFormat::kDocker, path);
    return done ? 0 : fail(done.error());
}

}  // namespace drupe::cli
