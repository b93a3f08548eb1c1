// HEAD, GET and PUT /containers/{id}/archive

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "api/endpoints/body_source.h"
#include "api/endpoints/containers.h"
#include "api/engine/container_files.h"
#include "api/engine/time_text.h"
#include "imagefs/oci/decompress.h"
#include "imagefs/registry/base64.h"

namespace drupe::endpoints {
namespace {

using engine::FileStream;

constexpr size_t kChunk = 64 << 10;

/// Go's os.FileMode: the permissions, and its own bits for the rest.
uint32_t go_mode(uint32_t mode) {
    constexpr uint32_t kDir = 1u << 31;
    constexpr uint32_t kSymlink = 1u << 27;
    constexpr uint32_t kDevice = 1u << 26;
    constexpr uint32_t kNamedPipe = 1u << 25;
    constexpr uint32_t kSocket = 1u << 24;
    constexpr uint32_t kSetuid = 1u << 23;
    constexpr uint32_t kSetgid = 1u << 22;
    constexpr uint32_t kCharDevice = 1u << 21;
    constexpr uint32_t kSticky = 1u << 20;
    uint32_t out = mode & 0777;
    if ((mode & S_ISUID) != 0) out |= kSetuid;
    if ((mode & S_ISGID) != 0) out |= kSetgid;
    if ((mode & S_ISVTX) != 0) out |= kSticky;
    if (S_ISDIR(mode)) return out | kDir;
    if (S_ISLNK(mode)) return out | kSymlink;
    if (S_ISBLK(mode)) return out | kDevice;
    if (S_ISCHR(mode)) return out | kDevice | kCharDevice;
    if (S_ISFIFO(mode)) return out | kNamedPipe;
    if (S_ISSOCK(mode)) return out | kSocket;
    return out;
}

http::Headers stat_header(const protocol::PathStat& stat) {
    const int64_t at_ns = stat.mtime_s * 1'000'000'000 + stat.mtime_ns;
    const Json json{{"name", stat.name},
                    {"size", stat.size},
                    {"mode", go_mode(stat.mode)},
                    {"mtime", engine::time_text(at_ns > 0 ? static_cast<uint64_t>(at_ns) : 0)},
                    {"linkTarget", stat.link_target}};
    return {{"X-Docker-Container-Path-Stat", imagefs::registry::base64_encode(dump(json))}};
}

Result<std::string> path_of(const Call& call) {
    std::string path = call.text("path");
    if (path.empty()) return Error{ErrorCode::kInvalid, "bad parameter: path cannot be empty"};
    return path;
}

/// Sends a tar as it comes; a client that has gone ends the work in the guest.
Status send_tar(const Call& call, FileStream& stream) {
    std::string buffer(kChunk, '\0');
    for (;;) {
        const ssize_t n = ::read(stream.data(), buffer.data(), buffer.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_error("read the archive");
        if (n == 0) return ok();
        TRY(call.http.write(std::string_view(buffer).substr(0, static_cast<size_t>(n))));
    }
}

/// The body into the guest, decompressed if it is gzip, bzip2, xz or zstd.
Status receive_tar(const Call& call, FileStream& stream) {
    BodySource body(call.http);
    TRY_ASSIGN(const auto plain, imagefs::oci::make_archive_decompressor(body));
    std::vector<std::byte> buffer(kChunk);
    for (;;) {
        TRY_ASSIGN(const size_t got, plain.source->read(buffer));
        if (got == 0) return ok();
        TRY(write_all(stream.data(), std::span<const std::byte>(buffer).first(got)));
    }
}

/// A tar that is none is the client's mistake.
Error blame_body(Error error) {
    if (error.code == ErrorCode::kCorrupt) error.code = ErrorCode::kInvalid;
    return error;
}

}  // namespace

Status stat_archive(const Call& call) {
    TRY_ASSIGN(const std::string path, path_of(call));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const auto files, engine->open_files(call.id()));
    const auto stat = files->stat(path);
    TRY(files->close());
    if (!stat) return stat.error();
    return call.http.reply(200, "application/json", "", stat_header(stat.value()));
}

Status get_archive(const Call& call) {
    TRY_ASSIGN(const std::string path, path_of(call));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const auto files, engine->open_files(call.id()));
    TRY_ASSIGN(const auto stat, files->stat(path));
    TRY_ASSIGN(FileStream stream, files->get(path));
    TRY(call.http.begin(200, "application/x-tar", stat_header(stat)));
    Status sent = send_tar(call, stream);
    if (!sent) stream.cancel();
    Status done = stream.finish();
    TRY(files->close());
    if (!sent) return sent;
    // The head is gone: an answer that is cut is all that can say so.
    if (!done) call.http.abandon();
    return done;
}

Status put_archive(const Call& call) {
    TRY_ASSIGN(const std::string path, path_of(call));
    engine::PutOptions options;
    options.no_overwrite_dir_non_dir = call.flag("noOverwriteDirNonDir");
    options.copy_uid_gid = call.flag("copyUIDGID");
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const auto files, engine->open_files(call.id()));
    TRY_ASSIGN(FileStream stream, files->put(path, options));
    const Status received = receive_tar(call, stream);
    // What the guest says counts more than that it didn't take all.
    if (!received && received.error().os_errno != EPIPE) stream.cancel();
    Status done = stream.finish();
    TRY(files->close());
    const bool guest_knows = !done && done.error().os_errno != 0;
    if (guest_knows || (received && !done)) {
        return blame_body(files->explain(std::move(done).error(), path));
    }
    if (!received) return blame_body(received.error());
    return call.answer(200);
}

}  // namespace drupe::endpoints
