#include <cstring>

#include "archive/tar_reader.h"
#include "archive/testing.h"

namespace drupe::archive {
namespace {

using testing::bytes_of;
using testing::file;
using testing::memory_file;
using testing::of_type;
using testing::tar_of;

Entry round_trip(const Entry& entry) {
    const Fd fd = tar_of({entry});
    TarReader reader(fd.get());
    auto again = reader.next();
    EXPECT_TRUE(again.has_value()) << (again ? "" : again.error().message);
    return again && again.value() ? *again.value() : Entry{};
}

/// Reads to the end; the error's text, or "".
std::string error_of(const Fd& fd) {
    TarReader reader(fd.get());
    std::vector<std::byte> buffer(1000);
    for (;;) {
        const auto entry = reader.next();
        if (!entry) return entry.error().message;
        if (!entry.value()) return "";
        for (;;) {
            const auto got = reader.read(buffer);
            if (!got) return got.error().message;
            if (got.value() == 0) break;
        }
    }
}

TEST(Tar, WhatIsWrittenIsRead) {
    Entry entry = file("folder/name", 3);
    entry.mode = 04755;
    entry.uid = 1000;
    entry.gid = 50;
    entry.mtime_s = 1'700'000'000;
    entry.mtime_ns = 123'000'456;
    entry.xattrs = {{"user.a", std::string("1\0\n=2", 5)}, {"security.capability", "x"}};
    const Entry again = round_trip(entry);
    EXPECT_EQ(again.name, "folder/name");
    EXPECT_EQ(again.mode, 04755U);
    EXPECT_EQ(again.uid, 1000U);
    EXPECT_EQ(again.gid, 50U);
    EXPECT_EQ(again.size, 3U);
    EXPECT_EQ(again.mtime_s, entry.mtime_s);
    EXPECT_EQ(again.mtime_ns, entry.mtime_ns);
    EXPECT_EQ(again.xattrs, entry.xattrs);
}

TEST(Tar, NamesOfAnyLengthUpToTheBound) {
    for (const size_t length : {1, 99, 100, 101, 255, 256, 4096, 16000}) {
        const std::string name(length, 'n');
        EXPECT_EQ(round_trip(file(name)).name, name) << length;
        EXPECT_EQ(round_trip(of_type(Type::kSymlink, "l", name)).link, name) << length;
    }
    EXPECT_NE(error_of(tar_of({file(std::string(20000, 'n'))})), "");
}

TEST(Tar, TimesBeforeTheEpochAndFarAfter) {
    for (const int64_t seconds : {-2'000'000'000LL, -1LL, 0LL, 8'589'934'592LL, 99'999'999'999LL}) {
        for (const uint32_t ns : {0U, 1U, 999'999'999U}) {
            Entry entry = file("a");
            entry.mtime_s = seconds;
            entry.mtime_ns = ns;
            const Entry again = round_trip(entry);
            EXPECT_EQ(again.mtime_s, seconds) << seconds << "." << ns;
            EXPECT_EQ(again.mtime_ns, ns) << seconds << "." << ns;
        }
    }
}

TEST(Tar, NumbersBeyondTheClassicHeader) {
    // The header of a 20 GiB file is enough.
    const Fd fd = memory_file();
    TarWriter writer(fd.get());
    Entry entry = file("large", 20ULL << 30);
    entry.uid = 4'000'000'000;
    entry.gid = 2'097'152;  // one more than seven octal digits
    ASSERT_TRUE(writer.add(entry).has_value());
    ASSERT_TRUE(writer.finish().has_value());
    testing::rewind(fd);
    TarReader reader(fd.get());
    const auto again = reader.next();
    ASSERT_TRUE(again && again.value());
    EXPECT_EQ(again.value()->size, 20ULL << 30);
    EXPECT_EQ(again.value()->uid, 4'000'000'000U);
    EXPECT_EQ(again.value()->gid, 2'097'152U);
    EXPECT_NE(error_of(memory_file(bytes_of(fd))).find("ends in the middle"), std::string::npos);
}

TEST(Tar, DevicesAndLinks) {
    Entry device = of_type(Type::kBlockDevice, "vda");
    device.major = 254;
    device.minor = 1'000'000;
    EXPECT_EQ(round_trip(device).major, 254U);
    EXPECT_EQ(round_trip(device).minor, 1'000'000U);
    EXPECT_EQ(round_trip(of_type(Type::kHardLink, "b", "a")).type, Type::kHardLink);
    EXPECT_EQ(round_trip(of_type(Type::kDirectory, "d")).name, "d/");
    EXPECT_EQ(round_trip(of_type(Type::kFifo, "f")).type, Type::kFifo);
}

TEST(Tar, EveryTruncationIsAnError) {
    Entry entry = file("n" + std::string(150, 'n'), 700);
    const std::string whole = bytes_of(tar_of({entry, file("b", 10)}));
    for (size_t size = 1; size < whole.size(); size += 37) {
        if (size > whole.size() - 512) break;  // one block of the end mark is enough
        EXPECT_NE(error_of(memory_file(whole.substr(0, size))), "") << size;
    }
    EXPECT_EQ(error_of(memory_file(whole)), "");
    EXPECT_EQ(error_of(memory_file("")), "");  // nothing is nothing to unpack
}

TEST(Tar, GarbageAndWhatComesAfterTheEndAreErrors) {
    EXPECT_NE(error_of(memory_file(std::string(4096, 'g'))).find("no tar"), std::string::npos);
    const std::string whole = bytes_of(tar_of({file("a")}));
    EXPECT_EQ(error_of(memory_file(whole + std::string(9000, '\0'))), "");
    EXPECT_NE(error_of(memory_file(whole + "x")).find("after its end"), std::string::npos);
    EXPECT_NE(error_of(memory_file(whole + std::string(2 << 20, '\0'))).find("after its end"),
              std::string::npos);
    std::string wrong = whole;
    wrong[0] ^= 1;
    EXPECT_NE(error_of(memory_file(wrong)).find("header is wrong"), std::string::npos);
}

TEST(Tar, ExtendedHeadersAreBounded) {
    Entry entry = file("a");
    entry.xattrs = {{"user.large", std::string(2 << 20, 'v')}};
    EXPECT_NE(error_of(tar_of({entry})).find("too long"), std::string::npos);
    entry.xattrs.assign(TarReader::kMaxXattrs + 1, {"user.a", "v"});
    EXPECT_NE(error_of(tar_of({entry})), "");
}

}  // namespace
}  // namespace drupe::archive
