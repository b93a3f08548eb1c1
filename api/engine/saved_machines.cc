#include "api/engine/saved_machines.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "api/engine/names.h"
#include "api/engine/paths.h"
#include "base/json_reader.h"
#include "vmm/snapshot/memory_pages.h"
#include "vmm/snapshot/state_file.h"

namespace drupe::engine {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kFolderMode = 0700;
constexpr mode_t kFileMode = 0600;
constexpr size_t kMaxWordsBytes = 4096;
constexpr uint64_t kPageBytes = 4096;
constexpr std::string_view kNew = "new-";
constexpr std::string_view kPin = "live-";
constexpr std::string_view kDigest = "sha256:";

std::string hex_of(std::string_view id) {
    if (id.starts_with(kDigest)) id.remove_prefix(kDigest.size());
    return std::string(id);
}

std::string to_text(const SavedMachine& machine) {
    return dump_json({{"chain", machine.chain},
                      {"pin", machine.pin},
                      {"memory_bytes", machine.memory_bytes},
                      {"nano_cpus", machine.nano_cpus},
                      {"pids_limit", machine.pids_limit},
                      {"memory_file_bytes", machine.memory_file_bytes},
                      {"tty", machine.tty},
                      {"open_stdin", machine.open_stdin},
                      {"protocol", machine.protocol},
                      {"container", machine.container},
                      {"name", machine.name},
                      {"created_at_ns", machine.created_at_ns}});
}

Result<SavedMachine> from_text(std::string_view text) {
    TRY_ASSIGN(const nlohmann::json value, parse_json(text));
    SavedMachine machine;
    JsonReader in(value);
    in.get("chain", machine.chain);
    in.get("pin", machine.pin);
    in.get("memory_bytes", machine.memory_bytes);
    in.get("nano_cpus", machine.nano_cpus);
    in.get("pids_limit", machine.pids_limit);
    in.get("memory_file_bytes", machine.memory_file_bytes);
    in.get("tty", machine.tty);
    in.get("open_stdin", machine.open_stdin);
    in.get("protocol", machine.protocol);
    in.get("container", machine.container);
    in.get("name", machine.name);
    in.get("created_at_ns", machine.created_at_ns);
    TRY(in.status());
    // A top of this name is removed with it: never a container's.
    if (!machine.pin.starts_with(kPin)) {
        return Error{ErrorCode::kCorrupt, "pin: it is none of a saved machine's"};
    }
    return machine;
}

Status sync(int fd, const std::string& what) {
    if (::fsync(fd) < 0) return os_error("fsync " + what);
    return ok();
}

Status remove_tree(const std::string& folder) {
    std::error_code error;
    fs::remove_all(folder, error);
    if (error) return os_error("remove " + folder, error.value());
    return ok();
}

}  // namespace

std::string SavedMachines::folder_of(std::string_view id) const {
    return folder_ + "/" + hex_of(id);
}

Result<SavedMachines::New> SavedMachines::begin() const {
    TRY_ASSIGN(const std::string id, random_id());
    New made;
    made.folder = fmt::format("{}/{}{}", folder_, kNew, short_id(id));
    made.pin = fmt::format("{}{}", kPin, short_id(id));
    TRY(make_folders(folder_, kFolderMode));
    TRY_ASSIGN(const Fd making, lock_folder(LOCK_SH));
    TRY(make_folders(made.folder, kFolderMode));
    TRY_ASSIGN(made.files.state,
               open_file(made.folder + "/state", O_RDWR | O_CREAT | O_EXCL, kFileMode));
    // Its maker lives as long as this lock does.
    if (::flock(made.files.state.get(), LOCK_EX | LOCK_NB) < 0) return os_error("lock a snapshot");
    TRY_ASSIGN(made.files.memory,
               open_file(made.folder + "/memory", O_RDWR | O_CREAT | O_EXCL, kFileMode));
    return made;
}

Status SavedMachines::publish(const New& made, const SavedMachine& machine,
                              std::string_view id) const {
    TRY_ASSIGN(const Fd words,
               open_file(made.folder + "/machine.json", O_WRONLY | O_CREAT | O_TRUNC, kFileMode));
    const std::string text = to_text(machine);
    TRY(write_all(words.get(), std::as_bytes(std::span(text))));
    TRY(sync(words.get(), "machine.json"));
    TRY(sync(made.files.memory.get(), "a snapshot's memory"));
    TRY(sync(made.files.state.get(), "a snapshot's state"));
    TRY(remove(id));
    if (::rename(made.folder.c_str(), folder_of(id).c_str()) < 0) {
        return os_error("rename " + made.folder);
    }
    TRY_ASSIGN(const Fd folder, open_file(folder_, O_RDONLY | O_DIRECTORY));
    return sync(folder.get(), folder_);
}

Result<std::optional<SavedMachine>> SavedMachines::find(std::string_view id) const {
    const auto text = read_file(folder_of(id) + "/machine.json", kMaxWordsBytes);
    if (!text && text.error().os_errno == ENOENT) return std::optional<SavedMachine>();
    if (!text) return text.error();
    auto machine = from_text(text.value());
    if (!machine) return std::move(machine).error().wrap(folder_of(id) + "/machine.json");
    return std::optional(std::move(machine).value());
}

Result<control::Snapshot> SavedMachines::open(std::string_view id) const {
    control::Snapshot files;
    TRY_ASSIGN(files.state, open_file(folder_of(id) + "/state", O_RDONLY));
    TRY_ASSIGN(files.memory, open_file(folder_of(id) + "/memory", O_RDONLY));
    return files;
}

Fd SavedMachines::open_working_set(std::string_view id) const {
    auto file = open_file(folder_of(id) + "/working_set", O_RDONLY);
    return file ? std::move(file).value() : Fd();
}

bool SavedMachines::knows_working_set(std::string_view id) const {
    const auto bytes = read_file(folder_of(id) + "/working_set", kMaxWorkingSetBytes);
    return bytes && decode_working_set(bytes.value()).has_value();
}

Status SavedMachines::keep_working_set(std::string_view id, const WorkingSet& set) const {
    TRY_ASSIGN(const std::string random, random_id());
    const std::string path = folder_of(id) + "/working_set";
    const std::string made = fmt::format("{}.{}", path, short_id(random));
    TRY_ASSIGN(const Fd file, open_file(made, O_WRONLY | O_CREAT | O_EXCL, kFileMode));
    const std::string bytes = encode(set);
    Status written = write_all(file.get(), std::as_bytes(std::span(bytes)));
    if (written) written = sync(file.get(), "a working set");
    if (written && ::rename(made.c_str(), path.c_str()) < 0) written = os_error("rename " + made);
    if (!written) ::unlink(made.c_str());
    return written;
}

Status SavedMachines::check(std::string_view id, const SavedMachine& machine) const {
    TRY_ASSIGN(const std::string state, read_file(folder_of(id) + "/state", kMaxStateFileBytes));
    TRY(decode_state_file(state));
    struct stat memory {};
    const std::string path = folder_of(id) + "/memory";
    if (::stat(path.c_str(), &memory) < 0) return os_error("stat " + path);
    if (static_cast<uint64_t>(memory.st_size) == machine.memory_file_bytes) return ok();
    return Error{ErrorCode::kCorrupt, fmt::format("{}: it is {} bytes long instead of {}", path,
                                                  memory.st_size, machine.memory_file_bytes)};
}

Status SavedMachines::verify(std::string_view id, const SavedMachine& machine) const {
    TRY_ASSIGN(const std::string state, read_file(folder_of(id) + "/state", kMaxStateFileBytes));
    TRY_ASSIGN(const auto sections, decode_state_file(state));
    TRY_ASSIGN(const auto section, find_section(sections, kMemorySection, kMemorySectionVersion));
    TRY_ASSIGN(const MemoryPages pages, decode_memory_pages(section));
    if (pages.total * kPageBytes != machine.memory_file_bytes) {
        return Error{ErrorCode::kCorrupt,
                     fmt::format("section {}: it is of {} pages, the memory file has {} bytes",
                                 kMemorySection, pages.total, machine.memory_file_bytes)};
    }
    TRY_ASSIGN(const Fd memory, open_file(folder_of(id) + "/memory", O_RDONLY));
    return verify_memory(memory.get(), pages);
}

uint64_t SavedMachines::stored_bytes(std::string_view id) const {
    constexpr uint64_t kUnit = 512;  // of st_blocks
    uint64_t bytes = 0;
    for (const char* name : {"/state", "/memory", "/working_set"}) {
        struct stat status {};
        if (::stat((folder_of(id) + name).c_str(), &status) == 0) {
            bytes += static_cast<uint64_t>(status.st_blocks) * kUnit;
        }
    }
    return bytes;
}

/// Renamed first: what is left of it if this is cut off is a dead one's.
Status SavedMachines::remove(std::string_view id) const {
    TRY_ASSIGN(const std::string random, random_id());
    const std::string dead = fmt::format("{}/{}{}", folder_, kNew, short_id(random));
    if (::rename(folder_of(id).c_str(), dead.c_str()) < 0) {
        if (errno == ENOENT) return ok();
        return os_error("rename " + folder_of(id));
    }
    return remove_tree(dead);
}

Status SavedMachines::remove(const New& dead) const {
    return remove_tree(dead.folder);
}

std::vector<std::string> SavedMachines::ids() const {
    std::vector<std::string> ids;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder_, error)) {
        const std::string name = entry.path().filename();
        if (name.size() == kIdDigits) ids.push_back(std::string(kDigest) + name);
    }
    return ids;
}

Result<Fd> SavedMachines::lock_folder(int operation) const {
    TRY_ASSIGN(Fd folder, open_file(folder_, O_RDONLY | O_DIRECTORY));
    while (::flock(folder.get(), operation) < 0) {
        if (errno != EINTR) return os_error("lock " + folder_);
    }
    return folder;
}

Result<std::vector<SavedMachines::New>> SavedMachines::dead() const {
    std::vector<New> dead;
    std::error_code error;
    if (!fs::exists(folder_, error)) return dead;
    TRY_ASSIGN(const Fd alone, lock_folder(LOCK_EX));
    for (const auto& entry : fs::directory_iterator(folder_, error)) {
        const std::string name = entry.path().filename();
        if (!name.starts_with(kNew)) continue;
        const auto state = open_file(entry.path().string() + "/state", O_RDONLY);
        if (state && ::flock(state.value().get(), LOCK_EX | LOCK_NB) < 0) continue;
        if (!fs::exists(entry.path(), error)) continue;  // published meanwhile, and no longer new
        New one;
        one.folder = entry.path();
        one.pin = fmt::format("{}{}", kPin, name.substr(kNew.size()));
        dead.push_back(std::move(one));
    }
    return dead;
}

}  // namespace drupe::engine
