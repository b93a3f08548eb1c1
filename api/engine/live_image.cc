#include "api/engine/live_image.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <vector>

#include "api/engine/engine.h"
#include "api/engine/names.h"
#include "api/engine/state.h"
#include "base/json_reader.h"
#include "base/log.h"

namespace drupe::engine {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kFolderMode = 0700;
constexpr mode_t kFileMode = 0600;
constexpr size_t kMaxWordsBytes = 4096;
constexpr std::string_view kNew = "new-";
constexpr uint64_t kDefaultShmBytes = 64 << 20;
constexpr std::string_view kDigest = "sha256:";

std::string hex_of(std::string_view image_id) {
    if (image_id.starts_with(kDigest)) image_id.remove_prefix(kDigest.size());
    return std::string(image_id);
}

std::string to_text(const LiveImage& live) {
    return dump_json({{"chain", live.chain},
                      {"memory_bytes", live.memory_bytes},
                      {"nano_cpus", live.nano_cpus},
                      {"tty", live.tty},
                      {"open_stdin", live.open_stdin},
                      {"protocol", live.protocol}});
}

Result<LiveImage> from_text(std::string_view text) {
    TRY_ASSIGN(const nlohmann::json value, parse_json(text));
    LiveImage live;
    JsonReader in(value);
    in.get("chain", live.chain);
    in.get("memory_bytes", live.memory_bytes);
    in.get("nano_cpus", live.nano_cpus);
    in.get("tty", live.tty);
    in.get("open_stdin", live.open_stdin);
    in.get("protocol", live.protocol);
    TRY(in.status());
    return live;
}

Status sync(int fd, const std::string& what) {
    if (::fsync(fd) < 0) return os_error("fsync " + what);
    return ok();
}

/// What a machine that runs already can't be given any more.
bool asks_for_a_start(const ContainerConfig& c) {
    const bool program = (c.entrypoint && !c.entrypoint->empty()) || (c.cmd && !c.cmd->empty()) ||
                         !c.env.empty() || !c.working_dir.empty() || !c.user.empty();
    const bool machine = !c.kernel.empty() || !c.kernel_args.empty() || c.console ||
                         !c.boot.empty() || c.read_only || c.storage_bytes != 0;
    // Clients of the API name its default.
    const bool guest = (c.shm_bytes != 0 && c.shm_bytes != kDefaultShmBytes) || c.pids_limit != 0 ||
                       c.init || c.privileged || !c.cap_add.empty() || !c.cap_drop.empty() ||
                       !c.groups.empty() || !c.tmpfs.empty() || !c.sysctls.empty() ||
                       !c.ulimits.empty();
    return program || machine || guest;
}

}  // namespace

Status check_can_be_saved(const Container& container, std::string_view query) {
    const auto refuse = [&](std::string_view why) {
        return Error{ErrorCode::kConflict, fmt::format("container {} {}", query, why)};
    };
    if (container.state == State::kPaused) return refuse("is paused: unpause it first");
    if (container.state != State::kRunning) {
        return refuse(refusal(container.state, Command::kExec));
    }
    if (container.config.console) return refuse("can't be saved: it has a console");
    if (container.config.read_only) return refuse("can't be saved: it has a read-only root");
    return ok();
}

std::string LiveImages::folder_of(std::string_view image_id) const {
    return folder_ + "/" + hex_of(image_id);
}

std::string LiveImages::pin_of(std::string_view image_id) {
    return "live-" + hex_of(image_id);
}

Result<LiveImages::New> LiveImages::begin() const {
    TRY_ASSIGN(const std::string id, random_id());
    New made;
    made.folder = fmt::format("{}/{}{}", folder_, kNew, short_id(id));
    TRY(make_folders(made.folder, kFolderMode));
    TRY_ASSIGN(made.files.state,
               open_file(made.folder + "/state", O_RDWR | O_CREAT | O_EXCL, kFileMode));
    TRY_ASSIGN(made.files.memory,
               open_file(made.folder + "/memory", O_RDWR | O_CREAT | O_EXCL, kFileMode));
    // Its maker lives as long as this lock does.
    if (::flock(made.files.state.get(), LOCK_EX | LOCK_NB) < 0) return os_error("lock a snapshot");
    return made;
}

Status LiveImages::publish(const New& made, const LiveImage& live,
                           std::string_view image_id) const {
    TRY_ASSIGN(const Fd words,
               open_file(made.folder + "/live.json", O_WRONLY | O_CREAT | O_TRUNC, kFileMode));
    const std::string text = to_text(live);
    TRY(write_all(words.get(), std::as_bytes(std::span(text))));
    TRY(sync(words.get(), "live.json"));
    TRY(sync(made.files.memory.get(), "a snapshot's memory"));
    TRY(sync(made.files.state.get(), "a snapshot's state"));
    TRY(remove(image_id));
    if (::rename(made.folder.c_str(), folder_of(image_id).c_str()) < 0) {
        return os_error("rename " + made.folder);
    }
    TRY_ASSIGN(const Fd folder, open_file(folder_, O_RDONLY | O_DIRECTORY));
    return sync(folder.get(), folder_);
}

Result<std::optional<LiveImage>> LiveImages::find(std::string_view image_id) const {
    const auto text = read_file(folder_of(image_id) + "/live.json", kMaxWordsBytes);
    if (!text && text.error().os_errno == ENOENT) return std::optional<LiveImage>();
    if (!text) return text.error();
    auto live = from_text(text.value());
    if (!live) return std::move(live).error().wrap("live.json of image " + hex_of(image_id));
    return std::optional(std::move(live).value());
}

Result<control::Snapshot> LiveImages::open(std::string_view image_id) const {
    control::Snapshot files;
    TRY_ASSIGN(files.state, open_file(folder_of(image_id) + "/state", O_RDONLY));
    TRY_ASSIGN(files.memory, open_file(folder_of(image_id) + "/memory", O_RDONLY));
    return files;
}

Status LiveImages::remove(std::string_view image_id) const {
    std::error_code error;
    fs::remove_all(folder_of(image_id), error);
    if (error) return os_error("remove " + folder_of(image_id), error.value());
    return ok();
}

Result<std::vector<std::string>> LiveImages::sweep() const {
    std::vector<std::string> images;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder_, error)) {
        const std::string name = entry.path().filename();
        if (name.size() == kIdDigits) images.push_back(std::string(kDigest) + name);
        if (!name.starts_with(kNew)) continue;
        const auto state = open_file(entry.path().string() + "/state", O_RDONLY);
        if (state && ::flock(state.value().get(), LOCK_EX | LOCK_NB) < 0) continue;
        fs::remove_all(entry.path(), error);
    }
    return images;
}

// The engine's side of it.

Status Engine::keep_live(const Container& container, const SealedDisk& disk,
                         const LiveImages::New& made, const std::string& image_id) {
    ImageRef chain;
    chain.id = image_id;
    chain.chain = disk.chain;
    TRY(images_.remove_top(LiveImages::pin_of(image_id)));
    TRY(images_.create_top(LiveImages::pin_of(image_id), chain));
    LiveImage live;
    live.chain = disk.chain;
    live.memory_bytes = container.config.memory_bytes;
    live.nano_cpus = container.config.nano_cpus;
    live.tty = container.config.tty;
    live.open_stdin = container.config.open_stdin;
    live.protocol = protocol::kVersion;
    return LiveImages(options_.paths.snapshots_dir()).publish(made, live, image_id);
}

Result<ImageRef> Engine::take_live(const ImageRef& image, ContainerConfig& asked) const {
    TRY_ASSIGN(const auto live, LiveImages(options_.paths.snapshots_dir()).find(image.id));
    if (!live || asks_for_a_start(asked)) return image;
    const bool fits = (asked.memory_bytes == 0 || asked.memory_bytes == live->memory_bytes) &&
                      (asked.nano_cpus == 0 || asked.nano_cpus == live->nano_cpus) &&
                      asked.tty == live->tty && (!asked.open_stdin || live->open_stdin);
    if (!fits) return image;
    if (live->protocol != protocol::kVersion) {
        log(LogLevel::kWarn, "image {} was saved by another version of drupe: its container boots",
            image.id);
        return image;
    }
    asked.live = image.id;
    asked.memory_bytes = live->memory_bytes;
    asked.nano_cpus = live->nano_cpus;
    ImageRef disk = image;
    disk.chain = live->chain;
    return disk;
}

Result<control::Snapshot> Engine::open_live(const Container& container) const {
    const bool first = container.started_at_ns == 0 && container.finished_at_ns == 0;
    if (container.config.live.empty() || !first) return control::Snapshot();
    auto files = LiveImages(options_.paths.snapshots_dir()).open(container.config.live);
    if (files) return files;
    log(LogLevel::kWarn, "container {} boots: its image's memory isn't there any more: {}",
        short_id(container.id), files.error().message);
    return control::Snapshot();
}

Status Engine::sweep_live() {
    const LiveImages lives(options_.paths.snapshots_dir());
    TRY_ASSIGN(const auto images, lives.sweep());
    for (const std::string& image : images) {
        const auto there = images_.resolve(image);
        if (there || there.error().code != ErrorCode::kNotFound) continue;
        TRY(lives.remove(image));
        TRY(images_.remove_top(LiveImages::pin_of(image)));
    }
    return ok();
}

}  // namespace drupe::engine
