// drupe cp: as Docker's client does it.

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <optional>
#include <thread>

#include "archive/paths.h"
#include "cli/command.h"
#include "cli/container_archive.h"
#include "cli/daemon.h"
#include "cli/host_paths.h"
#include "cli/tar_stream.h"
#include "cli/text.h"
#include "cli/unpack_child.h"

namespace drupe::cli {
namespace {

using archive::CopyEnd;
using archive::CopyPlan;
using archive::Unpacked;
using archive::UnpackOptions;

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

/// With -L: the path that a link leads to, and the name that it has.
Status follow_link(ContainerArchive& files, CopyEnd& source) {
    const auto stat = files.stat(source.path);
    if (!stat || !stat.value().is_link) return ok();  // get() says what is wrong
    std::string target = stat.value().link_target;
    source.name = archive::rebase_name(source.path, target);
    source.path = target;
    return ok();
}

client::BodySink sink_to(int fd) {
    return [fd](std::string_view bytes) { return write_all(fd, std::as_bytes(std::span(bytes))); };
}

/// A tar that comes, unpacked on the host while it does.
class Unpacking {
  public:
    Result<client::BodySink> begin(const std::string& folder, const UnpackOptions& options) {
        TRY_ASSIGN(FdPair pipe, make_pipe());
        in_ = std::move(pipe.second);
        worker_ = std::thread(
            [this, folder, options, out = std::make_shared<Fd>(std::move(pipe.first))]() {
                result_ = unpack_in_child(std::move(*out), folder, options);
            });
        return sink_to(in_.get());
    }
    /// How it went, and what the daemon said: an error of the one is the cause of EPIPE at the
    /// other.
    Result<Unpacked> finish(Status received) {
        in_.reset();
        if (worker_.joinable()) worker_.join();
        if (!received && received.error().os_errno != EPIPE) return received.error();
        if (!result_) return received.error();
        return std::move(*result_);
    }

  private:
    Fd in_;
    std::thread worker_;
    std::optional<Result<Unpacked>> result_;
};

Status copy_out(ContainerArchive& files, const std::string& path, const std::string& to,
                const CopyOptions& options) {
    CopyEnd source{path, true, false, ""};
    if (options.follow) {
        TRY(follow_link(files, source));
    }
    if (to == "-") {
        return files.get(source.path, [](const PathStat&) -> Result<client::BodySink> {
            return sink_to(STDOUT_FILENO);
        });
    }
    TRY_ASSIGN(const std::string absolute, absolute_path(to));
    Unpacking unpacking;
    const auto unpacked = unpacking.finish(
        files.get(source.path, [&](const PathStat& stat) -> Result<client::BodySink> {
            source.is_folder = stat.is_folder;
            TRY_ASSIGN(const CopyEnd destination, find_destination(absolute));
            TRY_ASSIGN(const CopyPlan plan, archive::plan_copy(source, destination));
            UnpackOptions unpack;
            unpack.keep_owner = options.archive;
            unpack.uid = ::getuid();
            unpack.gid = ::getgid();
            if (!plan.name.empty()) unpack.rename_top = plan.name;
            return unpacking.begin(plan.folder, unpack);
        }));
    if (!unpacked) return unpacked.error();
    if (unpacked.value().skipped != 0) {
        fmt::print(stderr, "drupe: {} devices were not copied\n", unpacked.value().skipped);
    }
    say_success(options, unpacked.value().bytes, absolute);
    return ok();
}

/// A destination in the container; one that is a link is where that leads. What can't be found out
/// isn't there: put() says what is wrong.
Result<CopyEnd> find_in_container(ContainerArchive& files, const std::string& path,
                                  const std::string& shown) {
    CopyEnd end{path, false, false, ""};
    auto stat = files.stat(path);
    if (stat && stat.value().is_link) {
        end.path = stat.value().link_target;
        stat = files.stat(end.path);
    }
    if (!stat) return end;
    end.exists = true;
    end.is_folder = stat.value().is_folder;
    if (!end.is_folder && !stat.value().is_file) {
        return Error{
            ErrorCode::kInvalid,
            fmt::format("destination \"{}\" must be a directory or a regular file", shown)};
    }
    return end;
}

Status copy_in(ContainerArchive& files, const std::string& from, const std::string& path,
               const std::string& shown, const CopyOptions& options) {
    TRY_ASSIGN(const CopyEnd destination, find_in_container(files, path, shown));
    if (from == "-") {
        if (destination.exists && !destination.is_folder) {
            return Error{ErrorCode::kInvalid,
                         fmt::format("destination \"{}\" must be a directory", shown)};
        }
        return files.put(destination.path, options.archive, body_from(STDIN_FILENO));
    }
    TRY_ASSIGN(const std::string absolute, absolute_path(from));
    TRY_ASSIGN(const CopyEnd source, find_source(absolute, options.follow));
    TRY_ASSIGN(const CopyPlan plan, archive::plan_copy(source, destination));
    const std::string base = archive::split_entry(source.path).base;
    // "." for what is in a folder that is a destination already; else what the plan calls it.
    const std::string name = !plan.name.empty() ? plan.name : base == "/" ? "." : base;
    TRY_ASSIGN(const auto tar, PackedStream::begin(source.path, name));
    TRY(files.put(plan.folder, options.archive, tar->source()));
    say_success(options, tar->bytes(), shown);
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
    TRY_ASSIGN(auto client, connect_daemon());
    ContainerArchive files(std::move(client), out ? from.container : to.container);
    return out ? copy_out(files, from.path, to.path, options)
               : copy_in(files, from.path, to.path, operands[1], options);
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
    ::signal(SIGPIPE, SIG_IGN);  // whoever takes a tar may be gone before its end
    const auto done = copy(operands, options);
    return done ? 0 : fail(done.error());
}

}  // namespace drupe::cli
