// drupe load and drupe import.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "base/fd.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/progress.h"
#include "cli/tar_stream.h"
#include "imagefs/oci/reference.h"

namespace drupe::cli {
namespace {

/// What is sent to the daemon: a file, a folder as a tar, or standard input.
class Input {
  public:
    Status open(const std::string& path) {
        if (path.empty() || path == "-") {
            if (::isatty(STDIN_FILENO) == 0) return ok();
            return Error{ErrorCode::kInvalid,
                         "standard input is a terminal: name a file with -i, or redirect one"};
        }
        struct stat st {};
        if (::stat(path.c_str(), &st) < 0) return os_error("open " + path);
        if (S_ISDIR(st.st_mode)) {
            TRY_ASSIGN(folder_, PackedStream::begin(path + "/.", "."));
            return ok();
        }
        TRY_ASSIGN(file_, open_file(path, O_RDONLY));
        return ok();
    }
    client::BodySource source() {
        if (folder_ != nullptr) return folder_->source();
        return body_from(file_.valid() ? file_.get() : STDIN_FILENO);
    }

  private:
    Fd file_;
    std::unique_ptr<PackedStream> folder_;
};

/// Sends it; what the daemon says about it goes to sink.
Status upload(const std::string& input_path, const std::string& path, client::Pairs query,
              const std::function<Status(const ProgressLine&)>& sink) {
    Input input;
    TRY(input.open(input_path));
    auto request = make_request("POST", path, std::move(query));
    request.headers = {{"Content-Type", "application/x-tar"}};
    request.source = input.source();
    ::signal(SIGPIPE, SIG_IGN);  // the daemon may have refused it before its end
    TRY_ASSIGN(auto client, connect_daemon());
    return watch_progress(client, request, sink);
}

}  // namespace

int load_command(int argc, char** argv) {
    std::string path;
    std::string tag;
    bool quiet = false;
    std::vector<std::string> operands;
    Args args("load", "[FILE|FOLDER]",
              "Load images from a docker save archive, or an OCI layout (folder or tar).");
    args.value("-i,--input", "PATH", path, "The archive or folder (default: standard input)");
    args.value("--tag", "NAME[:TAG]", tag, "Name it so (of an image that is alone in it)");
    args.flag("-q,--quiet", quiet, "No progress");
    args.operands(operands, 0, 1);
    args.example("docker save app:1 | drupe load", "from Docker");
    args.example("skopeo copy docker://debian:12 oci:d:latest && drupe load -i d --tag debian:12",
                 "from a registry, by skopeo");
    if (const auto code = args.parse(argc, argv)) return *code;
    if (!operands.empty()) path = operands.front();
    client::Pairs query{{"quiet", quiet ? "1" : "0"}};
    if (!tag.empty()) query.emplace_back("drupe.tag", tag);
    std::string loaded;
    const auto done =
        upload(path, "/images/load", std::move(query), [&](const ProgressLine& line) -> Status {
            if (!line.stream.empty()) loaded += line.stream + "\n";
            if (!quiet && !line.status.empty()) std::fprintf(stderr, "%s\n", line.status.c_str());
            return ok();
        });
    return done ? print(loaded) : fail(done.error());
}

int import_command(int argc, char** argv) {
    std::vector<std::string> operands;
    Args args("import", "FILE|FOLDER|- [NAME[:TAG]]",
              "Make an image of one layer of a root file system: a tar or a folder.");
    args.operands(operands, 1, 2);
    args.example("mmdebstrap bookworm - | drupe import - debian:mine", "a Debian of your own");
    args.example("drupe import ./rootfs app:dev", "a folder");
    if (const auto code = args.parse(argc, argv)) return *code;
    client::Pairs query{{"fromSrc", "-"}};
    if (operands.size() > 1) {
        const auto name = imagefs::oci::Reference::parse(operands[1]);
        if (!name) return fail(name.error());
        query.emplace_back("repo", name.value().registry + "/" + name.value().repository);
        query.emplace_back("tag", name.value().tag);
    }
    std::string id;
    const auto done =
        upload(operands[0], "/images/create", std::move(query), [&](const ProgressLine& line) {
            id = line.status;
            return ok();
        });
    return done ? print(id + "\n") : fail(done.error());
}

}  // namespace drupe::cli
