#include "api/engine/working_set.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "vmm/memory/own_pages.h"

namespace drupe::engine {
namespace {

constexpr uint64_t kPage = 4096;
/// A process has at most 65530 mappings.
constexpr size_t kMaxMapsBytes = 16 << 20;

/// A line of /proc/PID/maps that is of a file.
struct Mapping {
    uint64_t address = 0;
    uint64_t pages = 0;
    uint64_t first_page = 0;  ///< Of the file.
    dev_t device = 0;
    ino_t inode = 0;

    [[nodiscard]] bool is_of(const Mapping& file) const {
        return inode == file.inode && device == file.device;
    }
};

std::optional<Mapping> parse(const std::string& line) {
    uint64_t begin = 0;
    uint64_t end = 0;
    uint64_t offset = 0;
    unsigned major = 0;
    unsigned minor = 0;
    Mapping mapping;
    if (std::sscanf(line.c_str(), "%lx-%lx %*4s %lx %x:%x %lu", &begin, &end, &offset, &major,
                    &minor, &mapping.inode) != 6)
        return std::nullopt;
    mapping.address = begin;
    mapping.pages = (std::max(begin, end) - begin) / kPage;
    mapping.first_page = offset / kPage;
    mapping.device = makedev(major, minor);
    return mapping;
}

Result<std::vector<Mapping>> mappings_of(const std::string& process) {
    TRY_ASSIGN(const std::string maps, read_file(process + "/maps", kMaxMapsBytes));
    std::vector<Mapping> all;
    for (size_t at = 0; at < maps.size();) {
        const size_t end = std::min(maps.find('\n', at), maps.size());
        if (const auto mapping = parse(maps.substr(at, end - at))) all.push_back(*mapping);
        at = end + 1;
    }
    return all;
}

/// As what a file appears in maps. Not as fstat(2) has it: an overlay's files differ there.
Result<Mapping> identity_of(int fd) {
    void* const page = ::mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, fd, 0);
    if (page == MAP_FAILED) return os_error("memory file: mmap");
    const auto own = mappings_of("/proc/self");
    ::munmap(page, kPage);
    if (!own) return own.error();
    const auto found =
        std::ranges::find(own.value(), reinterpret_cast<uint64_t>(page), &Mapping::address);
    if (found == own.value().end()) return Error{ErrorCode::kIo, "/proc/self/maps lacks a mapping"};
    return *found;
}

void add(std::vector<PageRun>& runs, uint64_t page) {
    if (!runs.empty() && runs.back().first + runs.back().count == page)
        ++runs.back().count;
    else if (runs.size() < kMaxWorkingSetRuns / 2)
        runs.push_back({page, 1});
}

/// Adds what of a mapping is there.
Status add_mapping(const Fd& pagemap, const Mapping& mapping, WorkingSet& set) {
    std::array<uint64_t, 4096> entries;
    for (uint64_t done = 0; done < mapping.pages;) {
        const uint64_t wanted = std::min<uint64_t>(entries.size(), mapping.pages - done);
        const ssize_t got =
            ::pread(pagemap.get(), entries.data(), wanted * sizeof(uint64_t),
                    static_cast<off_t>((mapping.address / kPage + done) * sizeof(uint64_t)));
        if (got < 0) return os_error("read a monitor's pagemap");
        const uint64_t count = static_cast<uint64_t>(got) / sizeof(uint64_t);
        if (count == 0) return Error{ErrorCode::kNotFound, "the monitor has ended"};
        for (uint64_t i = 0; i < count; ++i) {
            const bool of_file = (entries[i] & kPagemapOfFile) != 0;
            if ((entries[i] & kPagemapPresent) != 0)
                add(of_file ? set.read : set.written, mapping.first_page + done + i);
        }
        done += count;
    }
    return ok();
}

}  // namespace

Result<WorkingSet> working_set_of(pid_t monitor, int memory_fd) {
    struct stat file {};
    if (::fstat(memory_fd, &file) < 0) return os_error("memory file: fstat");
    TRY_ASSIGN(const Mapping own, identity_of(memory_fd));
    const std::string process = fmt::format("/proc/{}", monitor);
    auto mappings = mappings_of(process);
    if (!mappings && mappings.error().os_errno != ENOENT) return mappings.error();
    if (mappings) std::erase_if(mappings.value(), [&](const Mapping& m) { return !m.is_of(own); });
    if (!mappings || mappings.value().empty())
        return Error{ErrorCode::kNotFound, "the monitor has ended, or never had that memory"};
    std::ranges::sort(mappings.value(), {}, &Mapping::first_page);
    TRY_ASSIGN(const Fd pagemap, open_file(process + "/pagemap", O_RDONLY));
    WorkingSet set;
    set.total = static_cast<uint64_t>(file.st_size) / kPage;
    uint64_t end = 0;
    for (const Mapping& mapping : mappings.value()) {
        // Mapped twice, or beyond its end: not by a monitor in its senses.
        if (mapping.first_page < end || mapping.first_page + mapping.pages > set.total) continue;
        end = mapping.first_page + mapping.pages;
        TRY(add_mapping(pagemap, mapping, set));
    }
    return set;
}

Result<Fd> make_file(const WorkingSet& set) {
    Fd file(::memfd_create("working-set", MFD_CLOEXEC));
    if (!file.valid()) return os_error("memfd_create");
    const std::string bytes = encode(set);
    TRY(write_exact(file.get(), std::as_bytes(std::span(bytes)), 0));
    return file;
}

}  // namespace drupe::engine
