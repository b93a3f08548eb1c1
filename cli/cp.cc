// drupe cp: as Docker's client does it, on the engine's stat, get and put.

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>

#include "api/engine/container_files.h"
#include "archive/pack.h"
#include "archive/paths.h"
#include "cli/command.h"
#include "cli/host_paths.h"
#include "cli/session.h"
#include "cli/text.h"
#include "cli/unpack_child.h"

namespace drupe::cli {
namespace {

using archive::CopyEnd;
using archive::CopyPlan;
using engine::ContainerFiles;
using engine::FileStream;

constexpr size_t kCopyBytes = 128 << 10;

struct CopyOptions {
    bool archive = false;
    bool follow = false;
    bool quiet = false;
};

void say_success(const CopyOptions& options, uint64_t bytes, const std::string& where) {
    if (options.quiet) return;
    const std::string line =
        fmt::format("Successfully copied {} to {}\n", human_size(bytes), where);
    std::fputs(line.c_str(), stderr);
}

/// Everything from one descriptor to another.
Result<uint64_t> copy_bytes(int from, int to) {
    std::vector<std::byte> buffer(kCopyBytes);
    for (uint64_t total = 0;;) {
        const ssize_t n = ::read(from, buffer.data(), buffer.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_error("read the archive");
        if (n == 0) return total;
        TRY(write_all(to, std::span<const std::byte>(buffer).first(static_cast<size_t>(n))));
        total += static_cast<uint64_t>(n);
    }
}

/// Ends a stream whose other end did `here`: an error of the guest's is the cause of one here.
Result<uint64_t> conclude(const ContainerFiles& files, FileStream& stream, const std::string& path,
                          Result<uint64_t> here) {
    if (!here && here.error().os_errno != EPIPE) stream.cancel();
    auto done = stream.finish();
    // Killed because of what went wrong here: the guest has nothing to say.
    const bool guest_knows = !done && done.error().os_errno != 0;
    if (guest_knows || (here && !done)) {
        return files.explain(std::move(done).error(), path);
    }
    return here;
}

/// With -L: the path that a link leads to, and the name that it has.
Status follow_link(ContainerFiles& files, CopyEnd& source) {
    const auto stat = files.stat(source.path);
    if (!stat || !S_ISLNK(stat.value().mode)) return ok();  // get() says what is wrong
    std::string target = stat.value().link_target;
    source.name = archive::rebase_name(source.path, target);
    source.path = target;
    return ok();
}

Status copy_out(ContainerFiles& files, const std::string& path, const std::string& to,
                const CopyOptions& options) {
    CopyEnd source{path, true, false, ""};
    if (options.follow) {
        TRY(follow_link(files, source));
    }
    if (to == "-") {
        TRY_ASSIGN(FileStream stream, files.get(source.path));
        auto copied = copy_bytes(stream.data(), STDOUT_FILENO);
        if (!copied) stream.cancel();  // whoever reads ours may have gone
        TRY(conclude(files, stream, source.path, std::move(copied)));
        return ok();
    }
    TRY_ASSIGN(const auto stat, files.stat(source.path));
    source.is_folder = S_ISDIR(stat.mode);
    TRY_ASSIGN(const std::string absolute, absolute_path(to));
    TRY_ASSIGN(const CopyEnd destination, find_destination(absolute));
    TRY_ASSIGN(const CopyPlan plan, archive::plan_copy(source, destination));

    archive::UnpackOptions unpack;
    unpack.keep_owner = options.archive;
    unpack.uid = ::getuid();
    unpack.gid = ::getgid();
    if (!plan.name.empty()) unpack.rename_top = plan.name;
    TRY_ASSIGN(FileStream stream, files.get(source.path));
    const auto unpacked = unpack_in_child(stream.take_data(), plan.folder, unpack);
    TRY_ASSIGN(const uint64_t bytes, conclude(files, stream, source.path,
                                              unpacked ? Result<uint64_t>(unpacked.value().bytes)
                                                       : Result<uint64_t>(unpacked.error())));
    if (unpacked.value().skipped != 0) {
        const std::string line =
            fmt::format("drupe: {} devices were not copied\n", unpacked.value().skipped);
        std::fputs(line.c_str(), stderr);
    }
    say_success(options, bytes, absolute);
    return ok();
}

/// A destination in the container; one that is a link is where that leads.
Result<CopyEnd> find_in_container(ContainerFiles& files, const std::string& path) {
    CopyEnd end{path, false, false, ""};
    auto stat = files.stat(path);
    if (stat && S_ISLNK(stat.value().mode)) {
        end.path = stat.value().link_target;
        stat = files.stat(end.path);
    }
    if (!stat && stat.error().code != ErrorCode::kNotFound &&
        stat.error().code != ErrorCode::kConflict)
        return std::move(stat).error();
    if (!stat) return end;
    end.exists = true;
    end.is_folder = S_ISDIR(stat.value().mode);
    if (!end.is_folder && !S_ISREG(stat.value().mode)) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("destination \"{}:{}\" must be a directory or a regular file",
                                 files.container().name, path)};
    }
    return end;
}

Status copy_in(ContainerFiles& files, const std::string& from, const std::string& path,
               const std::string& shown, const CopyOptions& options) {
    TRY_ASSIGN(const CopyEnd destination, find_in_container(files, path));
    engine::PutOptions put;
    put.copy_uid_gid = options.archive;
    if (from == "-") {
        if (!destination.is_folder) {
            return Error{ErrorCode::kInvalid,
                         fmt::format("destination \"{}\" must be a directory", shown)};
        }
        TRY_ASSIGN(FileStream stream, files.put(destination.path, put));
        TRY(conclude(files, stream, destination.path, copy_bytes(STDIN_FILENO, stream.data())));
        return ok();
    }
    TRY_ASSIGN(const std::string absolute, absolute_path(from));
    TRY_ASSIGN(const CopyEnd source, find_source(absolute, options.follow));
    TRY_ASSIGN(const CopyPlan plan, archive::plan_copy(source, destination));
    const std::string base = archive::split_entry(source.path).base;
    // "." for what is in a folder that is a destination already; else what the plan calls it.
    const std::string name = !plan.name.empty() ? plan.name : base == "/" ? "." : base;
    TRY_ASSIGN(FileStream stream, files.put(plan.folder, put));
    TRY_ASSIGN(const uint64_t bytes, conclude(files, stream, plan.folder,
                                              archive::pack(source.path, name, stream.data())));
    say_success(options, bytes, shown);
    return ok();
}

Status copy(const std::vector<std::string>& operands, const CopyOptions& options) {
    const auto from = archive::parse_copy_argument(operands[0]);
    const auto to = archive::parse_copy_argument(operands[1]);
    if (from.path.empty()) return Error{ErrorCode::kInvalid, "source can not be empty"};
    if (to.path.empty()) return Error{ErrorCode::kInvalid, "destination can not be empty"};
    if (!from.container.empty() && !to.container.empty())
        return Error{ErrorCode::kInvalid, "copying between containers is not supported"};
    if (from.container.empty() && to.container.empty())
        return Error{ErrorCode::kInvalid, "must specify at least one container source"};
    const bool out = !from.container.empty();
    if (out && to.path == "-" && ::isatty(STDOUT_FILENO) != 0) {
        return Error{ErrorCode::kInvalid,
                     "cowardly refusing to write an archive to a terminal: redirect it"};
    }
    if (!out && from.path != "-") {  // before a machine is started for it
        TRY_ASSIGN(const std::string absolute, absolute_path(from.path));
        TRY(find_source(absolute, options.follow));
    }
    TRY_ASSIGN(auto* const local, open_engine());
    TRY_ASSIGN(const auto files, local->engine->open_files(out ? from.container : to.container));
    Status done = out ? copy_out(*files, from.path, to.path, options)
                      : copy_in(*files, from.path, to.path, operands[1], options);
    Status closed = files->close();
    return done ? closed : done;
}

}  // namespace

int cp_command(int argc, char** argv) {
    CopyOptions options;
    std::vector<std::string> operands;
    Args args("cp", "CONTAINER:SRC_PATH DEST_PATH|-  |  SRC_PATH|- CONTAINER:DEST_PATH",
              "Copy files and folders between a container, which needn't run, and the host. '-' is "
              "a tar on standard input or output.");
    args.flag("-a,--archive", options.archive, "Keep owners (uid and gid)");
    args.flag("-L,--follow-link", options.follow, "Follow a symbolic link that is the source");
    args.flag("-q,--quiet", options.quiet, "Don't say how much was copied");
    args.operands(operands, 2, 2);
    args.example("drupe cp web:/var/log/app.log .", "a file, into this folder");
    args.example("drupe cp site/. web:/srv/www", "what is in a folder, into another");
    args.example("drupe cp web:/etc - | tar -t", "as a tar");
    if (const auto code = args.parse(argc, argv)) return *code;
    ::signal(SIGPIPE, SIG_IGN);  // the guest's end of the tar may be closed before ours
    const auto done = copy(operands, options);
    return done ? 0 : fail(done.error());
}

}  // namespace drupe::cli
