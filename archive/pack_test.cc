#include "archive/pack.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include <cerrno>
#include <map>

#include "archive/tar_reader.h"
#include "archive/testing.h"
#include "archive/unpack.h"

namespace drupe::archive {
namespace {

using testing::Folder;
using testing::memory_file;

std::map<std::string, Entry> entries_of(const Fd& fd) {
    testing::rewind(fd);
    std::map<std::string, Entry> all;
    TarReader reader(fd.get());
    for (;;) {
        auto entry = reader.next();
        EXPECT_TRUE(entry.has_value());
        if (!entry || !entry.value()) return all;
        all[entry.value()->name] = *entry.value();
    }
}

std::map<std::string, Entry> packed(const std::string& path, const std::string& name) {
    const Fd fd = memory_file();
    const auto done = pack(path, name, fd.get());
    EXPECT_TRUE(done.has_value()) << (done ? "" : done.error().message);
    return entries_of(fd);
}

TEST(Pack, ATreeComesBackAsItWas) {
    const Folder from;
    ASSERT_EQ(::mkdir((from / "t").c_str(), 0750), 0);
    from.write("t/a", "one");
    from.write("t/" + std::string(255, 'n'), std::string(300'000, 'z'));
    ASSERT_EQ(::link((from / "t/a").c_str(), (from / "t/b").c_str()), 0);
    ASSERT_EQ(::symlink("/nowhere", (from / "t/s").c_str()), 0);
    ASSERT_EQ(::mkfifo((from / "t/f").c_str(), 0600), 0);
    const bool attributes = ::setxattr((from / "t/a").c_str(), "user.k", "v", 1, 0) == 0;
    const timespec times[2] = {{1'000'000'000, 5}, {1'000'000'000, 7}};
    ASSERT_EQ(::utimensat(AT_FDCWD, (from / "t").c_str(), times, 0), 0);

    const Fd tar = memory_file();
    const auto size = pack(from / "t", "t", tar.get());
    ASSERT_TRUE(size.has_value()) << size.error().message;
    EXPECT_EQ(static_cast<off_t>(size.value()), ::lseek(tar.get(), 0, SEEK_CUR));
    testing::rewind(tar);
    const Folder to;
    UnpackOptions options;
    options.uid = ::getuid();
    options.gid = ::getgid();
    const auto done = unpack(tar.get(), to.fd(), options);
    ASSERT_TRUE(done.has_value()) << done.error().message;
    EXPECT_EQ(done.value().bytes, size.value());
    EXPECT_EQ(to.read("t/a"), "one");
    EXPECT_EQ(to.read("t/" + std::string(255, 'n')).size(), 300'000U);
    struct stat a {};
    struct stat b {};
    ASSERT_EQ(::stat((to / "t/a").c_str(), &a), 0);
    ASSERT_EQ(::stat((to / "t/b").c_str(), &b), 0);
    EXPECT_EQ(a.st_ino, b.st_ino);
    ASSERT_EQ(::stat((to / "t").c_str(), &a), 0);
    EXPECT_EQ(a.st_mode & 07777U, 0750U);
    EXPECT_EQ(a.st_mtim.tv_sec, 1'000'000'000);
    EXPECT_EQ(a.st_mtim.tv_nsec, 7);
    EXPECT_EQ(std::filesystem::read_symlink(to / "t/s"), "/nowhere");
    EXPECT_TRUE(std::filesystem::is_fifo(to / "t/f"));
    char value = 0;
    if (attributes) {
        EXPECT_EQ(::getxattr((to / "t/a").c_str(), "user.k", &value, 1), 1);
    }
}

TEST(Pack, ALinkIsFollowedOnlyWhereThePathSaysSo) {
    const Folder from;
    ASSERT_EQ(::mkdir((from / "d").c_str(), 0755), 0);
    from.write("d/x", "x");
    ASSERT_EQ(::symlink("d", (from / "l").c_str()), 0);
    EXPECT_EQ(packed(from / "l", "l").at("l").type, Type::kSymlink);
    EXPECT_EQ(packed(from / "l/", "l").count("l/x"), 1U);
    EXPECT_EQ(packed(from / "l/.", ".").count("./x"), 1U);
}

TEST(Pack, ASocketIsLeftOut) {
    const Folder from;
    const Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = from / "s";
    ASSERT_LT(path.size(), sizeof address.sun_path);
    path.copy(address.sun_path, path.size());
    ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const auto all = packed(from / ".", ".");
    EXPECT_EQ(all.size(), 1U);
}

TEST(Pack, WhatIsMissingIsSaidWithItsErrno) {
    const Fd fd = memory_file();
    const auto done = pack("/nonexistent/x", "x", fd.get());
    ASSERT_FALSE(done.has_value());
    EXPECT_EQ(done.error().os_errno, ENOENT);
}

}  // namespace
}  // namespace drupe::archive
