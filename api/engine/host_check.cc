#include "api/engine/host_check.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "api/engine/jail_launcher.h"
#include "api/engine/kvm_probe.h"
#include "base/fd.h"
#include "monitor/confine/cgroup.h"

namespace drupe::engine {
namespace {

constexpr size_t kSmallFile = 4096;
constexpr off_t kBlock = 4096;

HostCheck good(std::string name, std::string found) {
    return {std::move(name), Health::kGood, std::move(found), ""};
}
HostCheck bad(std::string name, std::string found, std::string advice) {
    return {std::move(name), Health::kBad, std::move(found), std::move(advice)};
}
HostCheck warning(std::string name, std::string found, std::string advice) {
    return {std::move(name), Health::kWarning, std::move(found), std::move(advice)};
}

HostCheck check_kernel() {
    utsname name{};
    ::uname(&name);
    int major = 0;
    int minor = 0;
    std::sscanf(name.release, "%d.%d", &major, &minor);  // NOLINT: zeroes are an answer too
    const std::string found = fmt::format("Linux {} on {}", name.release, name.machine);
    if (std::strcmp(name.machine, "x86_64") != 0) {
        return bad("host", found, "Drupe runs on x86_64 so far");
    }
    if (major < 5 || (major == 5 && minor < 14)) {
        return bad("host", found,
                   "update to Linux 5.14 or later: machines are ended by cgroup.kill");
    }
    return good("host", found);
}

HostCheck check_root() {
    if (::geteuid() == 0) return good("root", "running as root");
    return bad("root", fmt::format("running as uid {}", ::geteuid()),
               "run drupe as root: it gives each machine a user and namespaces of its own");
}

HostCheck check_kvm(const Paths& paths) {
    const auto probe = probe_kvm(paths.kvm);
    if (!probe) {
        const char* advice = "look into the kernel's log (dmesg) for kvm";
        if (probe.error().os_errno == ENOENT) {
            advice =
                "load the module (modprobe kvm_intel or kvm_amd) and switch virtualisation on "
                "in the firmware; in a VM, nested virtualisation";
        } else if (probe.error().os_errno == EACCES || probe.error().os_errno == EPERM) {
            advice = "run drupe as root; in a container, pass --device /dev/kvm";
        }
        return bad("kvm", probe.error().message, advice);
    }
    const ring0::Run& run = probe.value().run;
    if (run.carries_kernels()) {
        return good("kvm",
                    fmt::format("API version {}, {} million ring-0 instructions in {:.0f} ms",
                                probe.value().api_version, ring0::kMillionInstructions,
                                run.cpu_seconds * 1e3));
    }
    const std::string found =
        fmt::format("API version {}, {} of {} batches of ring-0 code in {:.1f} s",
                    probe.value().api_version, run.batches, ring0::kBatches, run.cpu_seconds);
    return bad("kvm", found,
               "this /dev/kvm emulates a guest kernel's instructions one by one, far too slowly to "
               "boot one: use a host with hardware virtualisation, or scripts/emulated-host");
}

HostCheck check_cgroups(const Paths& paths) {
    confine::CgroupTree::Options options;
    options.parent = cgroup_parent(paths.root);
    const auto tree = confine::CgroupTree::open(std::move(options));
    if (tree) return good("cgroup", "version 2, with cpu, memory and pids");
    return bad("cgroup", "can't be used", tree.error().message);  // which says what to do
}

HostCheck check_namespaces() {
    const auto text = read_file("/proc/sys/user/max_user_namespaces", kSmallFile);
    if (!text) {
        return bad("namespaces", text.error().message, "a kernel with CONFIG_USER_NS is needed");
    }
    if (text.value().starts_with("0")) {
        return bad("namespaces", "user namespaces are switched off",
                   "sysctl user.max_user_namespaces=65536");
    }
    return good("namespaces", "user namespaces are there");
}

HostCheck check_limits() {
    rlimit files{};
    ::getrlimit(RLIMIT_NOFILE, &files);
    const std::string found = fmt::format("{} open files (hard limit)", files.rlim_max);
    constexpr rlim_t kEnough = 4096;
    if (files.rlim_max >= kEnough) return good("limits", found);
    return warning("limits", found, "raise the limit of open files to 4096 (ulimit -Hn)");
}

/// What the store asks of its file system: holes of 4096 bytes that are reported exactly.
HostCheck check_file_system(const Paths& paths) {
    if (auto made = make_folders(paths.root, 0711); !made) {
        return bad("store", made.error().message, "name a folder you can write to in $DRUPE_ROOT");
    }
    const std::string path = paths.root + "/.doctor";
    const auto file = open_file(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (!file) {
        return bad("store", file.error().message, "name a folder you can write to in $DRUPE_ROOT");
    }
    ::unlink(path.c_str());
    const int fd = file.value().get();
    const std::string block(kBlock, '\0');  // zeroes: they must stay data
    const bool exact = ::ftruncate(fd, 4 * kBlock) == 0 &&
                       ::pwrite(fd, block.data(), block.size(), 2 * kBlock) == kBlock &&
                       ::fsync(fd) == 0 && ::lseek(fd, 0, SEEK_DATA) == 2 * kBlock &&
                       ::lseek(fd, 2 * kBlock, SEEK_HOLE) == 3 * kBlock;
    if (exact) return good("store", paths.root + ": holes of 4096 bytes are kept and reported");
    return bad("store", paths.root + ": its file system doesn't report holes of 4096 bytes exactly",
               "put $DRUPE_ROOT on ext4, xfs, btrfs or tmpfs");
}

HostCheck check_part(const char* name, const std::string& path, const char* advice) {
    if (!path.empty() && ::access(path.c_str(), R_OK) == 0) return good(name, path);
    return bad(name, path.empty() ? "not found" : path + " can't be read", advice);
}

}  // namespace

std::vector<HostCheck> check_host(const Paths& paths) {
    std::vector<HostCheck> checks{check_kernel(),          check_root(),       check_kvm(paths),
                                  check_cgroups(paths),    check_namespaces(), check_limits(),
                                  check_file_system(paths)};
    checks.push_back(
        check_part("monitor", paths.monitor, "build drupe-vmm, or name it in $DRUPE_VMM"));
    checks.push_back(
        check_part("importer", paths.importer, "build drupe-import, or name it in $DRUPE_IMPORT"));
    checks.push_back(
        check_part("initramfs", paths.initrd, "build initramfs.cpio, or name it in $DRUPE_INITRD"));
    checks.push_back(
        check_part("kernel", paths.kernel, "run kernel/build, or name a kernel in $DRUPE_KERNEL"));
    HostCheck busybox =
        check_part("busybox", paths.busybox, "install busybox-static for the built-in image");
    if (busybox.health == Health::kBad) busybox.health = Health::kWarning;
    checks.push_back(std::move(busybox));
    return checks;
}

}  // namespace drupe::engine
