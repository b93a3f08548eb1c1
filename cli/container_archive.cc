#include "cli/container_archive.h"

#include "base/json_reader.h"
#include "cli/daemon.h"
#include "imagefs/registry/base64.h"

namespace drupe::cli {
namespace {

// Go's os.FileMode.
constexpr uint32_t kFolder = 1u << 31;
constexpr uint32_t kLink = 1u << 27;
constexpr uint32_t kOtherTypes = 1u << 26 | 1u << 25 | 1u << 24 | 1u << 21 | 1u << 19;

Result<PathStat> read_stat(const client::Head& head) {
    const auto text = imagefs::registry::base64_decode(head.header("x-docker-container-path-stat"));
    if (!text)
        return Error{ErrorCode::kCorrupt, "the daemon's answer doesn't say what the path is"};
    TRY_ASSIGN(const auto json, parse_json(*text));
    PathStat stat;
    uint32_t mode = 0;
    JsonReader in(json, "path stat");
    in.get("name", stat.name);
    in.get("mode", mode);
    in.get("linkTarget", stat.link_target);
    TRY(in.status());
    stat.is_folder = (mode & kFolder) != 0;
    stat.is_link = (mode & kLink) != 0;
    stat.is_file = (mode & (kFolder | kLink | kOtherTypes)) == 0;
    return stat;
}

}  // namespace

Result<PathStat> ContainerArchive::stat(const std::string& path) {
    TRY_ASSIGN(const auto answer,
               client_.request(
                   make_request("HEAD", container_path(container_, "/archive"), {{"path", path}})));
    return read_stat(answer.head);
}

Status ContainerArchive::get(
    const std::string& path,
    const std::function<Result<client::BodySink>(const PathStat&)>& at_stat) {
    TRY_ASSIGN(const auto head,
               client_.begin(
                   make_request("GET", container_path(container_, "/archive"), {{"path", path}})));
    TRY_ASSIGN(const PathStat stat, read_stat(head));
    TRY_ASSIGN(const auto sink, at_stat(stat));
    std::vector<std::byte> buffer(128 << 10);
    for (;;) {
        TRY_ASSIGN(const size_t size, client_.read(buffer));
        if (size == 0) return ok();
        TRY(sink({reinterpret_cast<const char*>(buffer.data()), size}));
    }
}

Status ContainerArchive::put(const std::string& folder, bool copy_uid_gid, client::BodySource tar) {
    client::Pairs query{{"path", folder}, {"noOverwriteDirNonDir", "true"}};
    if (copy_uid_gid) query.emplace_back("copyUIDGID", "true");
    auto request = make_request("PUT", container_path(container_, "/archive"), std::move(query));
    request.headers = {{"Content-Type", "application/x-tar"}};
    request.source = std::move(tar);
    TRY(client_.request(request));
    return ok();
}

}  // namespace drupe::cli
