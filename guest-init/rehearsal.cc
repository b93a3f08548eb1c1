#include "guest-init/rehearsal.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "guest-init/identity.h"
#include "guest-init/mounts.h"
#include "guest-init/spawn.h"

namespace drupe::init {
namespace {

constexpr const char* kProgram = "/init";

/// A disk that holds this program alone.
Status make_disk(const std::string& where) {
    if (::mount("tmpfs", where.c_str(), "tmpfs", 0, "mode=755,size=1m") < 0)
        return os_error("mount the rehearsal's disk");
    const std::string program = where + kProgram;
    if (::mkdir((where + "/identity").c_str(), 0755) < 0) return os_error("mkdir");
    if (!make_file(program.c_str())) return os_error("create " + program);
    if (::mount(kProgram, program.c_str(), nullptr, MS_BIND, nullptr) < 0)
        return os_error("mount " + program);
    return ok();
}

Status play(const std::string& base, const Cgroup& cgroup) {
    if (::unshare(CLONE_NEWNS) < 0) return os_error("new namespace");
    const std::string disk = base + "/disk";
    const std::string prepared = base + "/identity";
    TRY(make_disk(disk));
    TRY_ASSIGN(const PreparedMounts mounts, take_mounts(prepared));
    TRY_ASSIGN(IdentityFiles identity, IdentityFiles::create(disk + "/identity"));
    TRY(enter_root(disk, false, mounts));
    protocol::Identity who;
    who.host_name = "rehearsal";
    TRY(identity.apply(who));
    protocol::Start order;
    order.argv = {kProgram, kRehearsed};
    order.env = {"PATH=/"};
    TRY_ASSIGN(const Spawned spawned, spawn(order, {.cgroup = &cgroup}));
    while (::waitpid(spawned.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return ok();
}

}  // namespace

void rehearse(const std::string& base, const Cgroup& cgroup) {
    if (::fork() != 0) return;
    ::_exit(play(base, cgroup) ? 0 : 1);
}

}  // namespace drupe::init
