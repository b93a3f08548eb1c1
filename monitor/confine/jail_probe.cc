// Tells what a jailed program sees, one "name value" a line on standard output. Static, and without
// the C++ library: what is tested is the jail, not what a runtime does.
#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

namespace {

void print_ids() {
    uid_t uids[3];
    gid_t gids[3];
    getresuid(&uids[0], &uids[1], &uids[2]);
    getresgid(&gids[0], &gids[1], &gids[2]);
    printf("uid %u,%u,%u\n", uids[0], uids[1], uids[2]);
    printf("gid %u,%u,%u\n", gids[0], gids[1], gids[2]);
    printf("groups %d\n", getgroups(0, nullptr));
    printf("pid %d\nsid %d\n", getpid(), getsid(0));
    const mode_t mask = umask(0);
    printf("umask %03o\n", mask);
}

void print_capabilities() {
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2] = {};
    syscall(SYS_capget, &header, data);
    printf("permitted %x%x\n", data[1].permitted, data[0].permitted);
    printf("effective %x%x\n", data[1].effective, data[0].effective);
    printf("inheritable %x%x\n", data[1].inheritable, data[0].inheritable);
    int bounding = 0, ambient = 0;
    for (int i = 0; i < 64; ++i) {
        if (prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1) ++bounding;
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, i, 0, 0) == 1) ++ambient;
    }
    printf("bounding %d\nambient %d\n", bounding, ambient);
    printf("no_new_privs %d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
}

void print_files() {
    printf("fds");
    for (int fd = 0; fd < 4096; ++fd)
        if (fcntl(fd, F_GETFD) >= 0) printf(" %d", fd);
    printf("\n");
    int entries = 0;
    DIR* const root = opendir("/");
    while (root != nullptr && readdir(root) != nullptr) ++entries;
    if (root != nullptr) closedir(root);
    printf("root_entries %d\n", entries);
    // A descriptor 9 that was asked for is the process's own folder.
    const int pagemap = openat(9, "pagemap", O_RDONLY);
    unsigned long entry = 0;
    printf("pagemap %d\n", pagemap >= 0 && pread(pagemap, &entry, sizeof entry,
                                                 reinterpret_cast<unsigned long>(&entry) / 4096 *
                                                     8) == sizeof entry);
    printf("frame %lx\n", entry & 0x7fffffffffffff);
    printf("root_writable %d\n", mkdir("/x", 0700) == 0);
    printf("parent_escapes %d\n", chdir("../../../../etc") == 0);
    printf("mounts %d\n", syscall(SYS_mount, "x", "/", "tmpfs", 0, nullptr) == 0);
    printf("unshares %d\n", syscall(SYS_unshare, 0x10000000) == 0);
}

void print_limits() {
    const int resources[] = {RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_FSIZE, RLIMIT_MEMLOCK,
                             RLIMIT_CORE};
    printf("limits");
    for (const int resource : resources) {
        rlimit limit = {};
        getrlimit(static_cast<__rlimit_resource>(resource), &limit);
        printf(" %ld/%ld", static_cast<long>(limit.rlim_cur), static_cast<long>(limit.rlim_max));
    }
    printf("\n");
}

void print_signals() {
    int not_default = 0, blocked = 0;
    sigset_t mask;
    sigprocmask(SIG_SETMASK, nullptr, &mask);
    for (int signal = 1; signal < 65; ++signal) {
        struct sigaction action = {};
        if (sigaction(signal, nullptr, &action) == 0 && action.sa_handler != SIG_DFL) ++not_default;
        if (sigismember(&mask, signal) == 1) ++blocked;
    }
    printf("signals %d %d\n", not_default, blocked);
}

}  // namespace

int main(int argc, char** argv) {
    printf("args");
    for (int i = 0; i < argc; ++i) printf(" %s", argv[i]);
    printf("\nenv");
    for (char** entry = environ; *entry != nullptr; ++entry) printf(" %s", *entry);
    printf("\n");
    print_ids();
    print_capabilities();
    print_files();
    print_limits();
    print_signals();
    utsname names = {};
    uname(&names);
    printf("host %s\nend\n", names.nodename);
    fflush(stdout);
    // Stays until its standard input ends, so that it can be looked at from outside.
    char byte;
    while (read(0, &byte, 1) > 0) {
    }
    return 7;
}
