#include "monitor/confine/jail.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <sstream>
#include <thread>

#include "monitor/confine/cgroup.h"

namespace drupe::confine {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kUid = 234'567;
constexpr uint32_t kGid = 234'568;

/// A new file without a name, in place of O_TMPFILE, which not every file system has.
Fd temporary_file(mode_t mode = 0600) {
    char name[] = "/tmp/drupe-confine-XXXXXX";
    Fd file(::mkostemp(name, O_CLOEXEC));
    EXPECT_EQ(::fchmod(file.get(), mode), 0);
    ::unlink(name);
    return file;
}

/// A jailed probe: its standard input is held open by us, what it says is parsed.
class Probe {
  public:
    Probe() {
        input_ = make_pipe().value();
        output_ = make_pipe().value();
        null_ = open_file("/dev/null", O_RDWR).value();
        const auto here = std::filesystem::read_symlink("/proc/self/exe").parent_path();
        program_ = open_file(here / "jail_probe", O_RDONLY).value();
        spec.executable_fd = program_.get();
        spec.argv = {"probe", "an argument"};
        spec.uid = kUid;
        spec.gid = kGid;
        spec.fds = {{input_.first.get(), 0}, {output_.second.get(), 1}, {null_.get(), 2}};
    }
    ~Probe() {
        if (process.pid > 0 && !reaped_) {
            ::kill(process.pid, SIGKILL);
            ::waitpid(process.pid, nullptr, 0);
        }
    }
    Status start() {
        TRY_ASSIGN(process, launch(spec));
        return ok();
    }
    void listen() {
        std::string text;
        char buffer[4096];
        pollfd state{output_.first.get(), POLLIN, 0};
        while (text.find("\nend\n") == std::string::npos) {
            ASSERT_EQ(::poll(&state, 1, 10'000), 1) << text;
            const ssize_t n = ::read(output_.first.get(), buffer, sizeof buffer);
            ASSERT_GT(n, 0) << text;
            text.append(buffer, static_cast<size_t>(n));
        }
        std::istringstream in(text);
        for (std::string line; std::getline(in, line);) {
            const size_t space = line.find(' ');
            if (space != std::string::npos) seen[line.substr(0, space)] = line.substr(space + 1);
        }
    }
    int finish() {
        input_.second.reset();
        int status = 0;
        EXPECT_EQ(::waitpid(process.pid, &status, 0), process.pid);
        reaped_ = true;
        return status;
    }
    [[nodiscard]] std::string proc(const std::string& file) const {
        return "/proc/" + std::to_string(process.pid) + "/" + file;
    }
    [[nodiscard]] const Fd& null() const { return null_; }

    JailSpec spec;
    JailedProcess process;
    std::map<std::string, std::string> seen;

  private:
    FdPair input_, output_;
    Fd null_, program_;
    bool reaped_ = false;
};

class JailTest : public ::testing::Test {
  protected:
    void SetUp() override { ASSERT_EQ(::geteuid(), 0U) << "these tests need root"; }
    Probe probe;
    std::map<std::string, std::string>& seen = probe.seen;
};

TEST_F(JailTest, TheProgramHasOneUnprivilegedUserAndNoCapabilities) {
    ASSERT_TRUE(probe.start());
    probe.listen();
    EXPECT_EQ(seen["uid"], "234567,234567,234567");
    EXPECT_EQ(seen["gid"], "234568,234568,234568");
    EXPECT_EQ(seen["groups"], "0");
    for (const char* set : {"permitted", "effective", "inheritable"}) EXPECT_EQ(seen[set], "00");
    EXPECT_EQ(seen["bounding"], "0");
    EXPECT_EQ(seen["ambient"], "0");
    EXPECT_EQ(seen["no_new_privs"], "1");
    const std::string status = read_file(probe.proc("status"), 1 << 20).value();
    EXPECT_THAT(status, HasSubstr("Uid:\t234567\t234567\t234567\t234567"));  // as the host sees it
    EXPECT_THAT(status, HasSubstr("Gid:\t234568\t234568\t234568\t234568"));
    EXPECT_THAT(status, HasSubstr("CapBnd:\t0000000000000000"));
    EXPECT_EQ(WEXITSTATUS(probe.finish()), 7);
}

TEST_F(JailTest, TheProgramHasSixNamespacesThatArentOurs) {
    struct stat before {};
    ASSERT_EQ(::stat("/proc/thread-self/ns/net", &before), 0);
    ASSERT_TRUE(probe.start());
    probe.listen();
    struct stat after {};
    ASSERT_EQ(::stat("/proc/thread-self/ns/net", &after), 0);
    EXPECT_EQ(after.st_ino, before.st_ino);
    for (const char* kind : {"user", "mnt", "pid", "net", "ipc", "uts"}) {
        struct stat ours {
        }, its{};
        ASSERT_EQ(::stat((std::string("/proc/self/ns/") + kind).c_str(), &ours), 0);
        ASSERT_EQ(::stat(probe.proc(std::string("ns/") + kind).c_str(), &its), 0);
        EXPECT_NE(ours.st_ino, its.st_ino) << kind;
    }
    EXPECT_EQ(seen["pid"], "1");
    EXPECT_EQ(seen["sid"], "1");
    EXPECT_EQ(seen["host"], "drupe");
    EXPECT_EQ(seen["unshares"], "0");
    const std::string net = read_file(probe.proc("net/dev"), 1 << 20).value();
    EXPECT_EQ(std::count(net.begin(), net.end(), '\n'), 3) << net;  // two of heading, and lo
}

TEST_F(JailTest, ItsOwnProcessIsThereIfItIsAskedFor) {
    probe.spec.own_process_fd = 9;
    ASSERT_TRUE(probe.start());
    probe.listen();
    EXPECT_EQ(seen["fds"], "0 1 2 9");
    EXPECT_EQ(seen["pagemap"], "1");
    EXPECT_EQ(seen["frame"], "0") << "where its pages are in the host's memory is nothing for it";
    EXPECT_EQ(seen["root_entries"], "2");
}

TEST_F(JailTest, WithoutItsOwnProcessItHasNone) {
    ASSERT_TRUE(probe.start());
    probe.listen();
    EXPECT_EQ(seen["pagemap"], "0");
    probe.spec.own_process_fd = 1;
    const auto twice = launch(probe.spec);
    ASSERT_FALSE(twice);
    EXPECT_THAT(twice.error().message, HasSubstr("twice"));
    probe.spec.own_process_fd = 1024;
    EXPECT_FALSE(launch(probe.spec));
}

TEST_F(JailTest, TheRootIsEmptyAndReadOnlyAndTheOnlyMount) {
    ASSERT_TRUE(probe.start());
    probe.listen();
    EXPECT_EQ(seen["root_entries"], "2");  // . and ..
    EXPECT_EQ(seen["root_writable"], "0");
    EXPECT_EQ(seen["parent_escapes"], "0");
    EXPECT_EQ(seen["mounts"], "0");
    const std::string mounts = read_file(probe.proc("mountinfo"), 1 << 20).value();
    EXPECT_EQ(std::count(mounts.begin(), mounts.end(), '\n'), 1) << mounts;
    EXPECT_THAT(mounts, HasSubstr("ro,nosuid,nodev,noexec"));
}

TEST_F(JailTest, TheProgramHasTheListedDescriptorsAndNothingElseOfOurs) {
    const Fd leak = Fd(::dup2(probe.null().get(), 700));  // inheritable, and not listed
    const Fd file = temporary_file();
    // Targets that are sources of others: a cycle.
    const Fd a(::fcntl(file.get(), F_DUPFD_CLOEXEC, 40));
    const Fd b(::fcntl(probe.null().get(), F_DUPFD_CLOEXEC, 50));
    probe.spec.fds.push_back({a.get(), b.get()});
    probe.spec.fds.push_back({b.get(), a.get()});
    probe.spec.fds.push_back({a.get(), 900});
    probe.spec.env = {"NAME=value"};
    ::setenv("SECRET", "x", 1);
    ::umask(022);
    struct sigaction ignore {
    }, before{};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGUSR1, &ignore, &before);
    ASSERT_TRUE(probe.start());
    ::sigaction(SIGUSR1, &before, nullptr);
    probe.listen();
    EXPECT_EQ(seen["fds"],
              "0 1 2 " + std::to_string(a.get()) + " " + std::to_string(b.get()) + " 900");
    struct stat ours {
    }, its{};
    ASSERT_EQ(::fstat(file.get(), &ours), 0);
    ASSERT_EQ(::stat(probe.proc("fd/" + std::to_string(b.get())).c_str(), &its), 0);
    EXPECT_EQ(ours.st_ino, its.st_ino);
    ASSERT_EQ(::stat(probe.proc("fd/900").c_str(), &its), 0);
    EXPECT_EQ(ours.st_ino, its.st_ino);
    EXPECT_EQ(seen["args"], "probe an argument");
    EXPECT_EQ(seen["env"], "NAME=value");
    EXPECT_EQ(seen["umask"], "077");
    EXPECT_EQ(seen["signals"], "0 0");
}

TEST_F(JailTest, LimitsAreSetSoftAndHard) {
    probe.spec.limits = {
        .open_files = 100, .processes = 9, .file_bytes = 1 << 20, .locked_bytes = 4096};
    ASSERT_TRUE(probe.start());
    probe.listen();
    EXPECT_EQ(seen["limits"], "100/100 9/9 1048576/1048576 4096/4096 0/0");
}

TEST_F(JailTest, ThePidfdAndTheStartTimeNameTheProcess) {
    ASSERT_TRUE(probe.start());
    probe.listen();
    EXPECT_GT(probe.process.start_ticks, 0U);
    EXPECT_EQ(::syscall(SYS_pidfd_send_signal, probe.process.pidfd.get(), SIGKILL, nullptr, 0), 0);
    const int status = probe.finish();
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST_F(JailTest, SeveralThreadsCanLaunchAtOnce) {
    std::array<std::thread, 8> threads;
    std::atomic<int> good = 0;
    for (std::thread& thread : threads) {
        thread = std::thread([&] {
            Probe mine;
            if (!mine.start()) return;
            mine.listen();
            if (WEXITSTATUS(mine.finish()) == 7) ++good;
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(good, 8);
}

class JailErrorTest : public JailTest {
  protected:
    /// The launch fails with that in its message, and leaves no child.
    void expect_error(ErrorCode code, const char* what) {
        const auto started = launch(probe.spec);
        ASSERT_FALSE(started);
        EXPECT_EQ(started.error().code, code) << started.error().message;
        EXPECT_THAT(started.error().message, HasSubstr(what));
        EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
        EXPECT_EQ(errno, ECHILD);
    }
};

TEST_F(JailErrorTest, AProgramThatIsNoneIsNamedAsSuch) {
    const Fd text = temporary_file(0755);
    ASSERT_EQ(::write(text.get(), "no program", 10), 10);
    const Fd readable = open_file("/proc/self/fd/" + std::to_string(text.get()), O_RDONLY).value();
    probe.spec.executable_fd = readable.get();
    expect_error(ErrorCode::kIo, "execute the program");
}

TEST_F(JailErrorTest, AProgramThatOthersMayNotExecuteIsDenied) {
    const Fd text = temporary_file(0700);
    const Fd readable = open_file("/proc/self/fd/" + std::to_string(text.get()), O_RDONLY).value();
    probe.spec.executable_fd = readable.get();
    expect_error(ErrorCode::kDenied, "execute the program");
}

TEST_F(JailErrorTest, DescriptorsThatAreWrongAreFoundBeforeAnythingIsMade) {
    const auto good = probe.spec.fds;
    probe.spec.fds.push_back({999, 5});
    expect_error(ErrorCode::kInvalid, "999 isn't open");
    probe.spec.fds = good;
    probe.spec.fds.push_back({good[0].from, 1});
    expect_error(ErrorCode::kInvalid, "there twice");
    probe.spec.fds = good;
    probe.spec.fds.pop_back();
    expect_error(ErrorCode::kInvalid, "2 is missing");
    probe.spec.fds = good;
    probe.spec.fds.push_back({good[0].from, 1024});
    expect_error(ErrorCode::kInvalid, "out of range");
}

TEST_F(JailErrorTest, RootAsTheUserIsRefused) {
    probe.spec.uid = 0;
    expect_error(ErrorCode::kInvalid, "must not be 0");
}

TEST_F(JailErrorTest, ALimitThatTheCallerDoesntHaveIsNamed) {
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    if (before.rlim_max == RLIM_INFINITY) {
        before = {1 << 20, 1 << 20};
        ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    }
    probe.spec.limits.open_files = before.rlim_max + 1;
    expect_error(ErrorCode::kLimit, "LimitNOFILE");
}

TEST_F(JailErrorTest, ACgroupThatIsNoneIsAnError) {
    const Fd directory = open_file("/tmp", O_RDONLY | O_DIRECTORY).value();
    probe.spec.cgroup_fd = directory.get();
    expect_error(ErrorCode::kIo, "new namespaces");
}

/// Where this host has a cgroup v2 tree: as its main one, or beside cgroup v1.
std::string cgroup2_root() {
    for (const char* root : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
        CgroupTree::Options options;
        options.root = root;
        options.parent = "drupe-test-probe";
        options.controllers = {};
        if (!CgroupTree::open(options)) continue;
        ::rmdir((options.root + "/" + options.parent).c_str());
        return root;
    }
    return "";
}

TEST_F(JailTest, TheProgramStartsInItsCgroupWhichKillsItAndIsRemoved) {
    CgroupTree::Options options;
    options.root = cgroup2_root();
    options.parent = "drupe-test-" + std::to_string(::getpid());
    options.controllers = {};
    if (options.root.empty()) {
        // Where machines run there has to be one; a build machine may have only the old kind.
        ASSERT_EQ(std::getenv("DRUPE_TEST_HOST"), nullptr) << "this host has no cgroup v2";
        GTEST_SKIP() << "this machine has no cgroup v2; jail_host_test runs where there is one";
    }
    const CgroupTree tree = CgroupTree::open(options).value();
    const Fd directory = tree.create("vm1", {}).value();
    probe.spec.cgroup_fd = directory.get();
    ASSERT_TRUE(probe.start());
    probe.listen();
    EXPECT_THAT(read_file(probe.proc("cgroup"), 1 << 16).value(),
                HasSubstr("0::/" + options.parent + "/vm1"));
    EXPECT_THAT(tree.list().value(), ::testing::ElementsAre("vm1"));
    options.patience_ms = 0;
    const auto again = CgroupTree::open(options).value().create("vm1", {});
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, ErrorCode::kConflict);

    ASSERT_TRUE(tree.kill("vm1"));
    const int status = probe.finish();
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    EXPECT_TRUE(tree.remove("vm1"));
    EXPECT_TRUE(tree.list().value().empty());
    EXPECT_EQ(::rmdir((options.root + "/" + options.parent).c_str()), 0);
}

}  // namespace
}  // namespace drupe::confine
