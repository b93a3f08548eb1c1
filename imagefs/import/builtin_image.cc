#include "imagefs/import/builtin_image.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <sstream>
#include <vector>

#include "base/fd.h"
#include "imagefs/ext4/format.h"
#include "imagefs/import/tar_stream.h"

namespace drupe::imagefs {
namespace {

constexpr size_t kMaxBusyboxBytes = 16 << 20;
constexpr size_t kMaxListBytes = 64 * 1024;

struct Folder {
    const char* path;
    uint32_t mode;
};
constexpr std::array kFolders{
    Folder{"./", 0755},        Folder{"bin/", 0755},     Folder{"dev/", 0755},
    Folder{"etc/", 0755},      Folder{"home/", 0755},    Folder{"mnt/", 0755},
    Folder{"proc/", 0555},     Folder{"root/", 0700},    Folder{"run/", 0755},
    Folder{"sbin/", 0755},     Folder{"sys/", 0555},     Folder{"tmp/", 01777},
    Folder{"usr/", 0755},      Folder{"usr/bin/", 0755}, Folder{"usr/sbin/", 0755},
    Folder{"var/", 0755},      Folder{"var/log/", 0755}, Folder{"var/spool/", 0755},
    Folder{"var/tmp/", 01777}, Folder{"var/www/", 0755},
};

struct File {
    const char* path;
    uint32_t mode;
    const char* content;
};
constexpr std::array kFiles{
    File{"etc/group", 0644,
         "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\ntty:x:5:\nwww-data:x:33:\nusers:x:100:\n"
         "nobody:x:65534:\n"},
    File{"etc/nsswitch.conf", 0644, "passwd: files\ngroup: files\nhosts: files dns\n"},
    File{"etc/passwd", 0644,
         "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
         "bin:x:2:2:bin:/bin:/bin/false\nsys:x:3:3:sys:/dev:/bin/false\n"
         "www-data:x:33:33:www-data:/var/www:/bin/false\n"
         "nobody:x:65534:65534:nobody:/home:/bin/false\n"},
    File{"etc/shadow", 0600, "root:*:::::::\nnobody:*:::::::\n"},
};

/// A program that needs a dynamic loader would not run in an image that has none.
bool is_static_elf(const std::string& program) {
    Elf64_Ehdr header{};
    if (program.size() < sizeof header) return false;
    std::memcpy(&header, program.data(), sizeof header);
    if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_machine != EM_X86_64) {
        return false;
    }
    for (uint32_t i = 0; i < header.e_phnum; ++i) {
        Elf64_Phdr segment{};
        const uint64_t at = header.e_phoff + uint64_t{i} * sizeof segment;
        if (at > program.size() || sizeof segment > program.size() - at) return false;
        std::memcpy(&segment, program.data() + at, sizeof segment);
        if (segment.p_type == PT_INTERP) return false;
    }
    return true;
}

Result<std::string> run_list(const std::string& busybox_path) {
    TRY_ASSIGN(FdPair pipe, make_pipe());
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe.second.get(), STDOUT_FILENO);
    std::string program = busybox_path;
    std::string name = "busybox";
    std::string argument = "--list";
    const std::array<char*, 3> arguments{name.data(), argument.data(), nullptr};
    std::array<char*, 1> environment{nullptr};
    pid_t child = 0;
    const int error = posix_spawn(&child, program.c_str(), &actions, nullptr, arguments.data(),
                                  environment.data());
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) return os_error(busybox_path + " --list", error);
    pipe.second.reset();
    auto output = read_all(pipe.first.get(), kMaxListBytes);
    pipe.first.reset();  // One that writes on ends by SIGPIPE.
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (output && status != 0) {
        return Error{ErrorCode::kInvalid, busybox_path + " --list failed"};
    }
    return output;
}

Result<std::vector<std::string>> list_applets(const std::string& busybox_path) {
    TRY_ASSIGN(const std::string output, run_list(busybox_path));
    std::vector<std::string> applets;
    std::istringstream lines(output);
    for (std::string line; std::getline(lines, line);) {
        if (line.empty() || line.size() > 64 || line.find('/') != std::string::npos ||
            line == "." || line == "..") {
            return Error{ErrorCode::kInvalid, busybox_path + " --list: not a list of applets"};
        }
        if (line != "busybox") applets.push_back(line);
    }
    std::sort(applets.begin(), applets.end());
    applets.erase(std::unique(applets.begin(), applets.end()), applets.end());
    if (!std::binary_search(applets.begin(), applets.end(), "sh")) {
        return Error{ErrorCode::kInvalid, busybox_path + " has no applet sh"};
    }
    return applets;
}

class Builder {
  public:
    Status folder(const Folder& folder) {
        ext4::Entry entry = start(folder.path, ext4::EntryType::kDirectory, folder.mode);
        return tar_.header(entry);
    }
    Status file(std::string path, uint32_t mode, std::string_view content) {
        ext4::Entry entry = start(std::move(path), ext4::EntryType::kFile, mode);
        entry.size = content.size();
        TRY(tar_.header(entry));
        return tar_.content(content);
    }
    Status link(std::string path, std::string target) {
        ext4::Entry entry = start(std::move(path), ext4::EntryType::kSymlink, 0777);
        entry.target = std::move(target);
        return tar_.header(entry);
    }
    Result<std::string> finish() {
        TRY(tar_.finish());
        return tar_.take();
    }

  private:
    static ext4::Entry start(std::string path, ext4::EntryType type, uint32_t mode) {
        ext4::Entry entry;
        entry.path = std::move(path);
        entry.type = type;
        entry.mode = mode;
        entry.mtime = ext4::kFormatTime;
        return entry;
    }
    TarWriter tar_;
};

}  // namespace

Result<std::string> make_busybox_tar(const std::string& busybox_path) {
    TRY_ASSIGN(const std::string program, read_file(busybox_path, kMaxBusyboxBytes));
    if (!is_static_elf(program)) {
        return Error{ErrorCode::kInvalid,
                     busybox_path +
                         " is not a statically linked x86-64 program (Debian's package "
                         "busybox-static has one)"};
    }
    TRY_ASSIGN(const std::vector<std::string> applets, list_applets(busybox_path));
    Builder builder;
    for (const Folder& folder : kFolders) {
        TRY(builder.folder(folder));
    }
    for (const File& file : kFiles) {
        TRY(builder.file(file.path, file.mode, file.content));
    }
    TRY(builder.file("bin/busybox", 0755, program));
    for (const std::string& applet : applets) {
        TRY(builder.link("bin/" + applet, "busybox"));
    }
    TRY(builder.link("usr/bin/env", "../../bin/env"));
    return builder.finish();
}

}  // namespace drupe::imagefs
