#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "archive/tar_writer.h"
#include "base/fd.h"

namespace drupe::archive::testing {

/// A folder that goes with the object.
class Folder {
  public:
    Folder() {
        std::string pattern = ::testing::TempDir() + "/archive-XXXXXX";
        EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
        path_ = pattern;
        fd_ = Fd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    [[nodiscard]] std::string operator/(const std::string& name) const {
        return path_ + "/" + name;
    }
    [[nodiscard]] int fd() const { return fd_.get(); }
    void write(const std::string& name, const std::string& text) const {
        std::ofstream(*this / name) << text;
    }
    [[nodiscard]] std::string read(const std::string& name) const {
        auto text = read_file(*this / name, 64 << 20);
        return text ? text.value() : "ERROR " + text.error().message;
    }

  private:
    std::string path_;
    Fd fd_;
};

/// A file in memory, at its beginning.
inline Fd memory_file(const std::string& bytes = "") {
    Fd fd(::memfd_create("tar", MFD_CLOEXEC));
    EXPECT_TRUE(write_all(fd.get(), std::as_bytes(std::span(bytes))).has_value());
    EXPECT_EQ(::lseek(fd.get(), 0, SEEK_SET), 0);
    return fd;
}
inline void rewind(const Fd& fd) {
    EXPECT_EQ(::lseek(fd.get(), 0, SEEK_SET), 0);
}
inline std::string bytes_of(const Fd& fd) {
    rewind(fd);
    auto bytes = read_all(fd.get(), 64 << 20);
    EXPECT_TRUE(bytes.has_value());
    return bytes.value();
}

/// An archive of these entries; files hold as many 'x' as they are long.
inline Fd tar_of(const std::vector<Entry>& entries) {
    Fd fd = memory_file();
    TarWriter writer(fd.get());
    for (const Entry& entry : entries) {
        EXPECT_TRUE(writer.add(entry).has_value());
        const std::string content(entry.type == Type::kFile ? entry.size : 0, 'x');
        EXPECT_TRUE(writer.write(std::as_bytes(std::span(content))).has_value());
    }
    EXPECT_TRUE(writer.finish().has_value());
    rewind(fd);
    return fd;
}

inline Entry file(const std::string& name, uint64_t size = 1) {
    Entry entry;
    entry.name = name;
    entry.mode = 0644;
    entry.size = size;
    return entry;
}
inline Entry of_type(Type type, const std::string& name, const std::string& link = "") {
    Entry entry;
    entry.name = name;
    entry.type = type;
    entry.mode = 0755;
    entry.link = link;
    return entry;
}

}  // namespace drupe::archive::testing
