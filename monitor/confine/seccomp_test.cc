#include "monitor/confine/seccomp.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <ctime>
#include <functional>
#include <set>
#include <thread>
#include <vector>

#include "base/event_loop.h"
#include "base/fd.h"
#include "imagefs/store/disk_io.h"
#include "monitor/confine/seccomp_rules.h"
#include "vmm/kvm/kvm_headers.h"

namespace drupe::confine {
namespace {

constexpr Role kRoles[] = {Role::kMain, Role::kBlock, Role::kVcpu, Role::kReader};

const char* name(Role role) {
    switch (role) {
        case Role::kMain:
            return "main";
        case Role::kBlock:
            return "block";
        case Role::kVcpu:
            return "vcpu";
        case Role::kReader:
            return "reader";
    }
    return "?";
}

/// How a child ends that puts itself under a role's filter and then does something: its wait
/// status.
int confined(Role role, const std::function<void()>& what) {
    const pid_t child = ::fork();
    if (child == 0) {
        if (!install(role)) ::_exit(99);
        what();
        ::_exit(0);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
}

::testing::AssertionResult killed(int status) {
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << "wait status " << status;
}
::testing::AssertionResult passed(int status) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << "wait status " << status;
}

void require(bool condition) {
    if (!condition) ::_exit(1);
}

struct Call {
    const char* name;
    long number;
    long a = 0, b = 0, c = 0, d = 0, e = 0, f = 0;
};

const Call kForbiddenToAll[] = {
    {"execve", __NR_execve},
    {"execveat", __NR_execveat},
    {"fork", __NR_fork},
    {"clone", __NR_clone, SIGCHLD},
    {"clone3", __NR_clone3},
    {"unshare", __NR_unshare},
    {"setns", __NR_setns},
    {"ptrace", __NR_ptrace},
    {"process_vm_readv", __NR_process_vm_readv},
    {"process_vm_writev", __NR_process_vm_writev},
    {"kill", __NR_kill, 1, 0},
    {"tkill", __NR_tkill, 1, 0},
    {"tgkill of another process", __NR_tgkill, 1, 1, 0},
    {"pidfd_open", __NR_pidfd_open, 1},
    {"socket", __NR_socket, AF_UNIX, SOCK_STREAM},
    {"connect", __NR_connect, -1},
    {"bind", __NR_bind, -1},
    {"dup3 onto a descriptor that is used", __NR_dup3, 1, 5, 0},
    {"openat2", __NR_openat2},
    {"open_by_handle_at", __NR_open_by_handle_at},
    {"unlink", __NR_unlink},
    {"rename", __NR_rename},
    {"chmod", __NR_chmod},
    {"fchmod", __NR_fchmod, -1},
    {"mount", __NR_mount},
    {"umount2", __NR_umount2},
    {"chroot", __NR_chroot},
    {"pivot_root", __NR_pivot_root},
    {"setuid", __NR_setuid, 0},
    {"capset", __NR_capset},
    {"prctl", __NR_prctl, PR_SET_DUMPABLE, 1},
    {"seccomp", __NR_seccomp},
    {"bpf", __NR_bpf},
    {"perf_event_open", __NR_perf_event_open},
    {"keyctl", __NR_keyctl},
    {"userfaultfd", __NR_userfaultfd},
    {"io_uring_setup", __NR_io_uring_setup},
    {"io_uring_register", __NR_io_uring_register, -1},
    {"memfd_create", __NR_memfd_create},
    {"eventfd2", __NR_eventfd2},
    {"epoll_create1", __NR_epoll_create1},
    {"sendmmsg", __NR_sendmmsg, -1},
    {"splice", __NR_splice, -1},
    {"vmsplice", __NR_vmsplice, -1},
    {"setrlimit", __NR_setrlimit},
    {"prlimit64", __NR_prlimit64, 1},
    {"modify_ldt", __NR_modify_ldt},
    {"arch_prctl", __NR_arch_prctl},
    {"personality", __NR_personality},
    {"stat by name", __NR_newfstatat, -1, 0, 0, 0},
    {"ioctl TIOCSTI", __NR_ioctl, -1, 0x5412},
    {"ioctl KVM_CREATE_VM", __NR_ioctl, -1, KVM_CREATE_VM},
    {"ioctl KVM_SET_USER_MEMORY_REGION", __NR_ioctl, -1, KVM_SET_USER_MEMORY_REGION},
    {"mmap executable", __NR_mmap, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1},
    {"mprotect executable", __NR_mprotect, 0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC},
    {"madvise MADV_MERGEABLE", __NR_madvise, 0, 4096, MADV_MERGEABLE},
    {"rt_sigaction SIGSYS", __NR_rt_sigaction, SIGSYS, 0, 0, 8},
    {"x32 getpid", 0x40000000L + __NR_getpid},
    {"no such call", 100'000},
};

TEST(SeccompTest, EveryRoleIsKilledByEveryForbiddenCall) {
    for (const Role role : kRoles) {
        for (const Call& call : kForbiddenToAll) {
            EXPECT_TRUE(killed(confined(
                role,
                [&] { ::syscall(call.number, call.a, call.b, call.c, call.d, call.e, call.f); })))
                << name(role) << ": " << call.name;
        }
    }
}

TEST(SeccompTest, RolesDontHaveEachOthersCalls) {
    const Call vcpu[] = {
        {"read", __NR_read, -1},
        {"close", __NR_close, -1},
        {"pread64", __NR_pread64, -1},
        {"pwritev", __NR_pwritev, -1},
        {"epoll_wait", __NR_epoll_wait},
        {"fallocate", __NR_fallocate, -1},
        {"recvmsg", __NR_recvmsg, -1},
        {"accept4", __NR_accept4, -1},
        {"socketpair", __NR_socketpair, 1},
        {"mmap of a file", __NR_mmap, 0, 4096, PROT_READ, MAP_SHARED, 0},
    };
    for (const Call& call : vcpu) {
        EXPECT_TRUE(killed(confined(Role::kVcpu, [&] {
            ::syscall(call.number, call.a, call.b, call.c, call.d, call.e, call.f);
        }))) << call.name;
    }
    const Call block[] = {{"ioctl KVM_RUN", __NR_ioctl, -1, KVM_RUN},
                          {"recvmsg", __NR_recvmsg, -1},
                          {"accept4", __NR_accept4, -1},
                          {"getrandom", __NR_getrandom},
                          {"fcntl", __NR_fcntl, -1, F_GETFL}};
    for (const Call& call : block) {
        EXPECT_TRUE(killed(confined(Role::kBlock, [&] {
            ::syscall(call.number, call.a, call.b, call.c, call.d, call.e, call.f);
        }))) << call.name;
    }
    const Call main[] = {{"ioctl KVM_RUN", __NR_ioctl, -1, KVM_RUN},
                         {"socketpair of IP sockets", __NR_socketpair, AF_INET, SOCK_STREAM},
                         {"fcntl F_SETOWN", __NR_fcntl, -1, F_SETOWN, 1},
                         {"getsockopt of a level", __NR_getsockopt, -1, SOL_SOCKET, SO_PEERSEC},
                         {"sendto an address", __NR_sendto, -1, 0, 0, 0, 4096}};
    for (const Call& call : main) {
        EXPECT_TRUE(killed(confined(Role::kMain, [&] {
            ::syscall(call.number, call.a, call.b, call.c, call.d, call.e, call.f);
        }))) << call.name;
    }
}

TEST(SeccompTest, AReaderReadsFilesAndWritesPipesOnly) {
    const Call calls[] = {
        {"pwrite64", __NR_pwrite64, -1},
        {"pwritev", __NR_pwritev, -1},
        {"ftruncate", __NR_ftruncate, -1},
        {"fallocate", __NR_fallocate, -1},
        {"fcntl", __NR_fcntl, -1, F_GETFL},
        {"recvmsg", __NR_recvmsg, -1},
        {"sendmsg", __NR_sendmsg, -1},
        {"socketpair", __NR_socketpair, AF_UNIX, SOCK_STREAM},
        {"epoll_wait", __NR_epoll_wait},
        {"getrandom", __NR_getrandom},
        {"ioctl KVM_RUN", __NR_ioctl, -1, KVM_RUN},
    };
    for (const Call& call : calls) {
        EXPECT_TRUE(killed(confined(Role::kReader, [&] {
            ::syscall(call.number, call.a, call.b, call.c, call.d, call.e, call.f);
        }))) << call.name;
    }
    const FdPair pipe = make_pipe().value();
    const Fd file = open_file("/proc/self/exe", O_RDONLY).value();
    EXPECT_TRUE(passed(confined(Role::kReader, [&] {
        char bytes[4] = {};
        require(::pread(file.get(), bytes, sizeof bytes, 0) == sizeof bytes);
        require(::write(pipe.second.get(), bytes, sizeof bytes) == sizeof bytes);
        void* mapping = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file.get(), 0);
        require(mapping != MAP_FAILED);
        const std::vector<char> large(64 << 20, 'x');  // by mmap
        require(large.back() == 'x');
    })));
}

TEST(SeccompTest, KvmRunReachesTheKernelInAVcpu) {
    EXPECT_TRUE(passed(confined(Role::kVcpu, [] {
        require(::syscall(__NR_ioctl, -1, KVM_RUN, 0) == -1 && errno == EBADF);
    })));
}

TEST(SeccompTest, GlibcsOptionalFilesDontExist) {
    for (const Role role : kRoles) {
        EXPECT_TRUE(passed(confined(role, [] {
            require(::open("/etc/passwd", O_RDONLY) == -1 && errno == ENOENT);
            const time_t now = 1;
            tm parts{};
            require(::gmtime_r(&now, &parts) != nullptr);
        }))) << name(role);
    }
}

TEST(SeccompTest, TheMainRoleServesSocketsFilesAndTheLoop) {
    char name[] = "/tmp/drupe-seccomp-XXXXXX";
    const Fd file(::mkostemp(name, O_CLOEXEC));
    ::unlink(name);
    const auto loop = make_event_loop();
    EXPECT_TRUE(passed(confined(Role::kMain, [&] {
        FdPair pair = std::move(make_socketpair(SOCK_STREAM)).value();
        require(set_nonblocking(pair.first.get(), true).has_value());
        require(pair.first.duplicate().has_value());
        require(::send(pair.first.get(), "x", 1, MSG_NOSIGNAL) == 1);
        auto watch = loop->on_readable(pair.second.get(), [&] { loop->stop(); });
        loop->run();
        char c;
        require(::recv(pair.second.get(), &c, 1, 0) == 1);
        require(::shutdown(pair.first.get(), SHUT_WR) == 0);
        ucred peer{};
        socklen_t size = sizeof peer;
        require(::getsockopt(pair.first.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0);
        require(write_exact(file.get(), std::as_bytes(std::span("abc", 3)), 0).has_value());
        require(::ftruncate(file.get(), 8192) == 0);
        require(::fdatasync(file.get()) == 0);
        require(::lseek(file.get(), 0, SEEK_END) == 8192);
        void* const map = ::mmap(nullptr, 8192, PROT_READ, MAP_SHARED, file.get(), 0);
        require(map != MAP_FAILED && std::memcmp(map, "abc", 3) == 0);
        require(::munmap(map, 8192) == 0);
        timespec now{};
        require(::syscall(__NR_clock_gettime, CLOCK_MONOTONIC, &now) == 0);
        std::vector<char> big(64 << 20, 'x');
        big.resize(128 << 20);
    })));
}

/// As in drupe-vmm: threads are started first, confine themselves, and are joined by a confined
/// main thread.
TEST(SeccompTest, ConfinedThreadsAllocateAreKickedAndEnd) {
    const pid_t child = ::fork();
    if (child == 0) {
        struct sigaction action {};
        action.sa_handler = [](int) {};
        ::sigaction(SIGRTMIN, &action, nullptr);
        std::atomic<int> ready = 0;
        std::atomic<bool> stop = false;
        const auto work = [&](Role role) {
            require(install(role).has_value());
            ++ready;
            ready.notify_all();
            // Enough churn to make, grow and trim malloc's arenas.
            for (int i = 0; i < 200 || !stop.load(); ++i) {
                std::vector<std::vector<char>> blocks;
                for (int j = 0; j < 64; ++j) blocks.emplace_back(4096U << (j % 6), 'x');
            }
        };
        std::thread vcpu(work, Role::kVcpu);
        std::thread block(work, Role::kBlock);
        while (ready.load() < 2) ::usleep(1000);
        require(install(Role::kMain).has_value());
        for (int i = 0; i < 100; ++i) ::pthread_kill(vcpu.native_handle(), SIGRTMIN);
        stop.store(true);
        vcpu.join();
        block.join();
        ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(passed(status));
}

/// The monitor's ring is made before the filter; afterwards io_uring_enter is all that it needs.
TEST(SeccompTest, TheBlockRoleReadsAndWritesThroughARingThatWasMadeBefore) {
    char path[] = "/tmp/drupe-seccomp-XXXXXX";
    const Fd file(::mkostemp(path, O_CLOEXEC));
    ::unlink(path);
    const pid_t child = ::fork();
    if (child == 0) {
        const auto ring = imagefs::make_ring_io();
        require(ring.has_value() && install(Role::kBlock).has_value());
        char bytes[] = "abcd";
        const iovec data{bytes, 4};
        using Kind = imagefs::DiskOperation::Kind;
        for (const Kind kind : {Kind::kWrite, Kind::kSync, Kind::kRead}) {
            ring.value()->prepare({kind, file.get(), {&data, 1}, 0, nullptr});
            imagefs::DiskResult result;
            require(ring.value()->run({&result, 1}, true) == 1);
            require(result.result == (kind == Kind::kSync ? 0 : 4));
        }
        ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(passed(status));
    for (const Role role : {Role::kMain, Role::kVcpu, Role::kReader}) {
        EXPECT_TRUE(killed(confined(role, [] { ::syscall(__NR_io_uring_enter, -1, 0, 0, 0); })))
            << name(role);
    }
    EXPECT_TRUE(killed(confined(Role::kBlock, [] {
        ::syscall(__NR_io_uring_enter, -1, 0, 0, 1 << 4);  // IORING_ENTER_REGISTERED_RING
    })));
}

TEST(SeccompTest, AnAbortIsAnAbort) {
    for (const Role role : kRoles) {
        const int status = confined(role, [] { ::abort(); });
        EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) << name(role);
    }
}

TEST(SeccompTest, InstallSetsNoNewPrivileges) {
    // prctl is forbidden afterwards, so ask from outside: the child stops itself while confined.
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        if (!install(Role::kMain)) ::_exit(99);
        char c;
        ::_exit(::read(pipe[0], &c, 1) == 1 ? 0 : 1);
    }
    std::string text;
    for (int i = 0; i < 500 && text.find("Seccomp:\t2") == std::string::npos; ++i) {
        ::usleep(10'000);
        text = read_file("/proc/" + std::to_string(child) + "/status", 1 << 20).value();
    }
    EXPECT_NE(text.find("NoNewPrivs:\t1"), std::string::npos);
    EXPECT_NE(text.find("Seccomp:\t2"), std::string::npos);
    ASSERT_EQ(::write(pipe[1], "x", 1), 1);
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(passed(status));
}

TEST(SeccompRulesTest, EveryRuleHasAReasonARoleAndNoRuleIsThereTwice) {
    std::set<std::string> seen;
    for (const Rule& rule : seccomp_rules()) {
        EXPECT_NE(std::string(rule.reason), "");
        EXPECT_NE(rule.roles & kAll, 0);
        std::string key = std::to_string(rule.number) + "/" + std::to_string(rule.roles);
        for (const Condition& c : rule.conditions)
            key += "/" + std::to_string(c.argument) + ":" + std::to_string(c.value);
        EXPECT_TRUE(seen.insert(key).second) << key;
    }
}

}  // namespace
}  // namespace drupe::confine
