// drupe diff, export and save: what is in containers and images.

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <vector>

#include "base/fd.h"
#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/daemon.h"

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

    static Status check(const std::string& path, std::string_view what) {
        if (!is_stdout(path) || ::isatty(STDOUT_FILENO) == 0) return ok();
        return Error{ErrorCode::kInvalid, "cowardly refusing to " + std::string(what) +
                                              " to a terminal. Use the -o flag or redirect"};
    }
    Status open(const std::string& path) {
        if (is_stdout(path)) return ok();
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
    static bool is_stdout(const std::string& path) { return path.empty() || path == "-"; }

    Fd file_;
    std::string path_;
    std::string unfinished_;
};

/// The answer to a request, which is an archive. The daemon is asked first: where there is nothing
/// to write, no file appears.
Status download(const client::Request& request, const std::string& path, std::string_view what) {
    ArchiveOutput output;
    TRY(output.check(path, what));
    TRY_ASSIGN(auto client, connect_daemon());
    TRY(client.begin(request));
    TRY(output.open(path));
    std::vector<std::byte> buffer(kCopyBytes);
    for (;;) {
        TRY_ASSIGN(const size_t size, client.read(buffer));
        if (size == 0) return output.finish();
        TRY(output.write({reinterpret_cast<const char*>(buffer.data()), size}));
    }
}

/// A line for each change: "A /etc/new".
Result<std::string> changes_text(const std::string& container) {
    constexpr std::array<char, 3> kLetters{'C', 'A', 'D'};
    TRY_ASSIGN(const auto json, ask(make_request("GET", container_path(container, "/changes"))));
    if (json.is_null()) return std::string();
    if (!json.is_array()) return Error{ErrorCode::kCorrupt, "the daemon's answer is no list"};
    std::string text;
    for (const auto& change : json) {
        std::string path;
        uint8_t kind = 0;
        JsonReader in(change, "change");
        in.get("Path", path);
        in.get("Kind", kind);
        TRY(in.status());
        if (kind >= kLetters.size()) return Error{ErrorCode::kCorrupt, "unknown kind of change"};
        text += kLetters[kind];
        text += " " + path + "\n";
    }
    return text;
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
    const auto text = changes_text(names.front());
    return text ? print(text.value()) : fail(text.error());
}

int export_command(int argc, char** argv) {
    std::vector<std::string> names;
    std::string path;
    Args args("export", "CONTAINER", "Write all files of a container as a tar.");
    args.value("-o,--output", "FILE", path, "The tar (default: standard output)");
    args.operands(names, 1, 1);
    args.example("drupe export web | tar -t", "the names of all files");
    if (const auto code = args.parse(argc, argv)) return *code;
    const auto done =
        download(make_request("GET", container_path(names.front(), "/export")), path, "export");
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
    client::Pairs query;
    for (const std::string& name : names) query.emplace_back("names", name);
    if (format == "oci") query.emplace_back("drupe.format", format);
    const auto done = download(make_request("GET", "/images/get", std::move(query)), path, "save");
    return done ? 0 : fail(done.error());
}

}  // namespace drupe::cli
