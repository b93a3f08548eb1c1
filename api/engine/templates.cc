#include "api/engine/templates.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <vector>

#include "api/engine/clock.h"
#include "api/engine/lock.h"
#include "api/engine/machine_files.h"
#include "api/engine/machine_size.h"
#include "imagefs/store/sha256.h"
#include "monitor/exit_record.h"

namespace drupe::engine {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kFileMode = 0600;
constexpr unsigned kFolderMode = 0700;
constexpr size_t kMaxRecordBytes = 256 << 10;
constexpr size_t kMaxBootIdBytes = 64;
/// Whatever made the last one fail would make the next one fail too.
constexpr uint64_t kRetryAfterNs = 60'000'000'000;
/// Raised when a machine of before can't go on as one of now.
constexpr uint32_t kTemplateVersion = 1;

/// Tells a file from every other and from its own earlier content, as far as its times do.
Result<std::string> identity_of(const std::string& path) {
    struct stat s {};
    if (path.empty() || ::stat(path.c_str(), &s) < 0) return os_error("stat " + path);
    return fmt::format("{}:{}:{}:{}.{}:{}.{}\n", s.st_dev, s.st_ino, s.st_size, s.st_mtim.tv_sec,
                       s.st_mtim.tv_nsec, s.st_ctim.tv_sec, s.st_ctim.tv_nsec);
}

Result<std::string> boot_id() {
    TRY_ASSIGN(std::string id, read_file("/proc/sys/kernel/random/boot_id", kMaxBootIdBytes));
    std::erase_if(
        id, [](char c) { return c != '-' && std::isxdigit(static_cast<unsigned char>(c)) == 0; });
    if (id.empty()) return Error{ErrorCode::kIo, "the kernel has no boot_id"};
    return id;
}

Result<Fd> create_file(const std::string& path) {
    return open_file(path, O_RDWR | O_CREAT | O_TRUNC, kFileMode);
}

Status remove_tree(const std::string& path) {
    std::error_code error;
    fs::remove_all(path, error);
    if (error) return os_error("remove " + path, error.value());
    return ok();
}

}  // namespace

struct Templates::Place {
    std::string boot;
    std::string key;
    std::string folder;
    std::string run_dir;

    [[nodiscard]] std::string state() const { return folder + "/state"; }
    [[nodiscard]] std::string new_state() const { return folder + "/state.new"; }
    [[nodiscard]] std::string memory() const { return folder + "/memory"; }
    [[nodiscard]] std::string record() const { return folder + "/exit.json"; }
};

Result<Templates::Place> Templates::place(const TemplateShape& shape) const {
    Place place;
    TRY_ASSIGN(place.boot, boot_id());
    std::string text = fmt::format("{} {} {}\n", kTemplateVersion, shape.memory_bytes, shape.vcpus);
    for (const std::string* const part : {&paths_.kernel, &paths_.initrd, &paths_.monitor}) {
        TRY_ASSIGN(const std::string identity, identity_of(*part));
        text += identity;
    }
    place.key = imagefs::sha256(text).hex();
    place.folder = paths_.root + "/templates/" + place.boot + "/" + place.key;
    place.run_dir = paths_.run + "/templates/" + place.key;
    return place;
}

Result<std::optional<TemplateFiles>> Templates::find(const TemplateShape& shape) const {
    TRY_ASSIGN(const Place at, place(shape));
    auto state = open_file(at.state(), O_RDONLY);
    if (!state && state.error().os_errno == ENOENT) {
        TRY_ASSIGN(const bool published, publish(at));
        if (!published) return std::optional<TemplateFiles>();
        state = open_file(at.state(), O_RDONLY);
    }
    if (!state) return std::move(state).error();
    TRY_ASSIGN(Fd memory, open_file(at.memory(), O_RDONLY));
    return std::optional(TemplateFiles{std::move(state).value(), std::move(memory)});
}

/// Whether it is ready: a machine that has saved itself has said so in its record, last of all.
Result<bool> Templates::publish(const Place& at) const {
    struct stat s {};
    if (::stat(at.record().c_str(), &s) < 0) return false;
    TRY_ASSIGN(const auto lock, ContainerLock::try_take(at.run_dir));
    if (!lock) return false;
    TRY_ASSIGN(const bool lives, monitor_lives(at.run_dir));
    if (lives) return false;
    if (::stat(at.state().c_str(), &s) == 0) return true;
    const auto text = read_file(at.record(), kMaxRecordBytes);
    const auto record = text ? parse_exit_record(text.value()) : Result<ExitRecord>(text.error());
    if (!record || record.value().reason != "saved") return false;
    TRY(launcher_.release(at.key));
    if (::rename(at.new_state().c_str(), at.state().c_str()) < 0) {
        return os_error("rename " + at.new_state());
    }
    return true;
}

Status Templates::make(const TemplateShape& shape) const {
    TRY_ASSIGN(const Place at, place(shape));
    TRY_ASSIGN(const auto lock, ContainerLock::try_take(at.run_dir));
    if (!lock) return ok();
    TRY_ASSIGN(const bool lives, monitor_lives(at.run_dir));
    struct stat s {};
    if (lives || ::stat(at.state().c_str(), &s) == 0) return ok();
    // Times of files and realtime_ns() are the same clock. One from the future is from before a
    // step of it.
    const uint64_t now = realtime_ns();
    if (::stat(at.record().c_str(), &s) == 0) {
        const auto tried = static_cast<uint64_t>(s.st_mtim.tv_sec) * 1'000'000'000;
        if (now >= tried && now - tried < kRetryAfterNs) return ok();
    }
    TRY(remove_tree(at.folder));
    TRY(make_folders(at.folder, kFolderMode));
    return launch(at, shape);
}

Status Templates::launch(const Place& at, const TemplateShape& shape) const {
    TRY_ASSIGN(const Fd kvm, open_kvm(paths_.kvm));
    TRY_ASSIGN(const Fd kernel, open_part(paths_.kernel, "guest kernel", "run kernel/build"));
    TRY_ASSIGN(const Fd initrd, open_part(paths_.initrd, "initramfs.cpio", "build it"));
    TRY_ASSIGN(const Fd alive, take_alive_lock(at.run_dir));
    TRY_ASSIGN(const Fd control, make_control_socket(at.run_dir));
    TRY_ASSIGN(const Fd record, create_file(at.record()));
    TRY_ASSIGN(const Fd state, create_file(at.new_state()));
    TRY_ASSIGN(const Fd memory, create_file(at.memory()));
    TRY_ASSIGN(const Fd messages, create_file(at.folder + "/monitor.log"));

    LaunchSpec spec;
    spec.program = paths_.monitor;
    spec.uid = kTemplateUid;
    spec.memory_max_bytes = shape.memory_bytes + kMonitorOverheadBytes;
    spec.log_fd = messages.get();
    spec.config.id = at.key;
    spec.config.memory_bytes = shape.memory_bytes;
    spec.config.vcpus = shape.vcpus;
    spec.config.kvm_fd = kvm.get();
    spec.config.kernel_fd = kernel.get();
    spec.config.initrd_fd = initrd.get();
    spec.config.lock_fd = alive.get();
    spec.config.control_fd = control.get();
    spec.config.exit_record_fd = record.get();
    spec.config.save = {state.get(), memory.get()};
    spec.config.launched_ns = monotonic_ns();
    TRY(launcher_.launch(spec));
    return ok();
}

Status Templates::remove(const TemplateShape& shape) const {
    TRY_ASSIGN(const Place at, place(shape));
    TRY_ASSIGN(const auto lock, ContainerLock::try_take(at.run_dir));
    if (!lock) return ok();
    return remove_tree(at.folder);
}

Status Templates::sweep() const {
    TRY_ASSIGN(const std::string boot, boot_id());
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(paths_.root + "/templates", error)) {
        if (entry.path().filename() != boot) {
            TRY(remove_tree(entry.path()));
        }
    }
    std::vector<std::pair<fs::file_time_type, std::string>> ready;
    for (const auto& entry : fs::directory_iterator(paths_.root + "/templates/" + boot, error)) {
        const auto made = fs::last_write_time(entry.path() / "state", error);
        if (!error) ready.emplace_back(made, entry.path());
    }
    std::ranges::sort(ready, std::greater());
    for (size_t i = kMaxTemplates; i < ready.size(); ++i) {
        TRY(remove_tree(ready[i].second));
    }
    return ok();
}

}  // namespace drupe::engine
