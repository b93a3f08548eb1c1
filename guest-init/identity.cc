#include "guest-init/identity.h"

#include <fcntl.h>
#include <linux/random.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "guest-init/mounts.h"

namespace drupe::init {
namespace {

Status add_entropy(const std::string& entropy) {
    const Fd fd(::open("/dev/urandom", O_RDWR | O_CLOEXEC));
    if (!fd.valid()) return os_error("open /dev/urandom");
    std::vector<int> buffer(2 + (entropy.size() + sizeof(int) - 1) / sizeof(int));
    buffer[0] = static_cast<int>(entropy.size() * 8);  // struct rand_pool_info
    buffer[1] = static_cast<int>(entropy.size());
    std::memcpy(&buffer[2], entropy.data(), entropy.size());
    if (::ioctl(fd.get(), RNDADDENTROPY, buffer.data()) < 0) return os_error("add entropy");
    // So that the generator's next output depends on it already.
    if (::ioctl(fd.get(), RNDRESEEDCRNG) < 0) return os_error("reseed");
    return ok();
}

Status set_clock(uint64_t realtime_ns) {
    constexpr uint64_t kSecond = 1'000'000'000;
    const timespec time{.tv_sec = static_cast<time_t>(realtime_ns / kSecond),
                        .tv_nsec = static_cast<long>(realtime_ns % kSecond)};
    if (::clock_settime(CLOCK_REALTIME, &time) < 0) return os_error("set the clock");
    return ok();
}

/// A copy's workload may have made the file, in an image without one. It sees no mount of ours any
/// more: the file itself changes.
Status replace_made_machine_id(const std::string& text) {
    const Fd file(
        ::open("/etc/machine-id", O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC));
    struct stat status {};
    if (!file.valid() || ::fstat(file.get(), &status) < 0 || !S_ISREG(status.st_mode)) return ok();
    if (::ftruncate(file.get(), 0) < 0) return os_error("replace the machine-id");
    return write_all(file.get(), std::as_bytes(std::span(text)));
}

void keep_first(Status& status, Status next) {
    if (status) status = std::move(next);
}

}  // namespace

Result<IdentityFiles> IdentityFiles::create(const std::string& where) {
    if (::mount("tmpfs", where.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                "mode=755,size=4m") < 0)
        return os_error("mount the identity's files");
    TRY_ASSIGN(Fd directory, open_file(where, O_PATH | O_DIRECTORY));
    return IdentityFiles(std::move(directory));
}

Status IdentityFiles::put(const char* name, const std::string& text) const {
    const Fd fd(::openat(directory_.get(), name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!fd.valid()) return os_error(std::string("create ") + name);
    TRY(write_all(fd.get(), std::as_bytes(std::span(text))));
    if (mounted_) return ok();  // the container sees the new text already
    const std::string target = std::string("/etc/") + name;
    // A read-only image without the file goes without.
    if (!make_file(target.c_str())) return ok();
    const Fd tree(::open_tree(directory_.get(), name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    if (!tree.valid() || ::move_mount(tree.get(), "", AT_FDCWD, target.c_str(),
                                      MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS) < 0)
        return os_error("mount " + target);
    return ok();
}

Status IdentityFiles::apply(const protocol::Identity& identity) {
    TRY(put("hosts", hosts_text(identity)));
    TRY(put("hostname", identity.host_name + "\n"));
    TRY(put("resolv.conf", resolv_conf_text(identity)));
    // Images without the file are those that don't care.
    if (!mounted_)
        machine_id_ = !identity.machine_id.empty() && ::access("/etc/machine-id", F_OK) == 0;
    if (machine_id_) {
        TRY(put("machine-id", identity.machine_id + "\n"));
    } else if (mounted_ && !identity.machine_id.empty()) {
        TRY(replace_made_machine_id(identity.machine_id + "\n"));
    }
    mounted_ = true;
    return ok();
}

Status apply_to_kernel(const protocol::Identity& identity) {
    Status status = ok();
    const std::string& name = identity.host_name;
    if (!name.empty() && ::sethostname(name.data(), name.size()) < 0)
        status = os_error("set the host name");
    const std::string& domain = identity.domain_name;
    if (!domain.empty() && ::setdomainname(domain.data(), domain.size()) < 0)
        keep_first(status, os_error("set the domain name"));
    if (!identity.entropy.empty()) keep_first(status, add_entropy(identity.entropy));
    if (identity.realtime_ns != 0) keep_first(status, set_clock(identity.realtime_ns));
    return status;
}

std::string hosts_text(const protocol::Identity& identity) {
    std::string text =
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::0\tip6-localnet\n"
        "ff00::0\tip6-mcastprefix\n"
        "ff02::1\tip6-allnodes\n"
        "ff02::2\tip6-allrouters\n";
    for (const std::string& line : identity.hosts) (text += line) += '\n';
    return text;
}

std::string resolv_conf_text(const protocol::Identity& identity) {
    std::string text;
    for (const std::string& line : identity.resolv_conf) (text += line) += '\n';
    return text;
}

}  // namespace drupe::init
