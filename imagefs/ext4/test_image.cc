#include "imagefs/ext4/test_image.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "imagefs/ext4/format.h"
#include "imagefs/ext4/tar_applier.h"

namespace drupe::imagefs::ext4 {
namespace {

la_ssize_t append(archive*, void* data, const void* bytes, size_t size) {
    static_cast<std::string*>(data)->append(static_cast<const char*>(bytes), size);
    return static_cast<la_ssize_t>(size);
}

mode_t file_type(EntryType type) {
    switch (type) {
        case EntryType::kDirectory:
            return AE_IFDIR;
        case EntryType::kSymlink:
            return AE_IFLNK;
        case EntryType::kCharDevice:
            return AE_IFCHR;
        case EntryType::kBlockDevice:
            return AE_IFBLK;
        case EntryType::kFifo:
            return AE_IFIFO;
        default:
            return AE_IFREG;
    }
}

}  // namespace

Result<size_t> StringSource::read(std::span<std::byte> out) {
    const size_t count = std::min(out.size(), bytes_.size() - at_);
    std::memcpy(out.data(), bytes_.data() + at_, count);
    at_ += count;
    return count;
}

TarBuilder::TarBuilder() {
    archive* handle = archive_write_new();
    archive_ = handle;
    archive_write_set_format_pax(handle);
    archive_write_set_option(handle, "pax", "hdrcharset", "BINARY");
    archive_write_open(handle, &bytes_, nullptr, append, nullptr);
}

TarBuilder::~TarBuilder() {
    if (archive_ != nullptr) archive_write_free(static_cast<archive*>(archive_));
}

TarBuilder& TarBuilder::add(const Entry& entry, std::string_view content) {
    auto* handle = static_cast<archive*>(archive_);
    archive_entry* raw = archive_entry_new2(handle);
    archive_entry_set_pathname(raw, entry.path.c_str());
    archive_entry_set_filetype(raw, file_type(entry.type));
    archive_entry_set_perm(raw, entry.mode);
    archive_entry_set_uid(raw, entry.uid);
    archive_entry_set_gid(raw, entry.gid);
    archive_entry_set_mtime(raw, entry.mtime, entry.mtime_ns);
    archive_entry_set_size(raw, static_cast<la_int64_t>(content.size()));
    archive_entry_set_rdevmajor(raw, entry.device_major);
    archive_entry_set_rdevminor(raw, entry.device_minor);
    if (entry.type == EntryType::kSymlink) archive_entry_set_symlink(raw, entry.target.c_str());
    if (entry.type == EntryType::kHardlink) archive_entry_set_hardlink(raw, entry.target.c_str());
    for (const Xattr& xattr : entry.xattrs) {
        archive_entry_xattr_add_entry(raw, xattr.name.c_str(), xattr.value.data(),
                                      xattr.value.size());
    }
    EXPECT_EQ(archive_write_header(handle, raw), ARCHIVE_OK) << archive_error_string(handle);
    archive_write_data(handle, content.data(), content.size());
    archive_entry_free(raw);
    return *this;
}

TarBuilder& TarBuilder::file(std::string path, std::string_view content, uint32_t mode) {
    Entry entry;
    entry.path = std::move(path);
    entry.mode = mode;
    entry.mtime = 1'600'000'000;
    return add(entry, content);
}

TarBuilder& TarBuilder::directory(std::string path, uint32_t mode) {
    Entry entry;
    entry.path = std::move(path);
    entry.type = EntryType::kDirectory;
    entry.mode = mode;
    entry.mtime = 1'600'000'001;
    return add(entry);
}

TarBuilder& TarBuilder::symlink(std::string path, std::string target) {
    Entry entry;
    entry.path = std::move(path);
    entry.type = EntryType::kSymlink;
    entry.target = std::move(target);
    return add(entry);
}

TarBuilder& TarBuilder::hardlink(std::string path, std::string target) {
    Entry entry;
    entry.path = std::move(path);
    entry.type = EntryType::kHardlink;
    entry.target = std::move(target);
    return add(entry);
}

std::string TarBuilder::finish() {
    auto* handle = static_cast<archive*>(archive_);
    EXPECT_EQ(archive_write_close(handle), ARCHIVE_OK);
    archive_write_free(handle);
    archive_ = nullptr;
    return std::move(bytes_);
}

TestImage::TestImage(uint64_t block_count) {
    const char* folder = std::getenv("TMPDIR");
    std::string name = std::string(folder != nullptr ? folder : "/tmp") + "/drupe-image-XXXXXX";
    file_.reset(mkostemp(name.data(), O_CLOEXEC));
    EXPECT_TRUE(file_.valid());
    EXPECT_EQ(unlink(name.c_str()), 0);
    EXPECT_EQ(ftruncate(file_.get(), static_cast<off_t>(block_count * BlockDevice::kBlockSize)), 0);
    device_ = make_file_device(file_.get(), block_count);
    const Status formatted = format_layer0(*device_);
    EXPECT_TRUE(formatted) << formatted.error().message;
}

Result<ApplyStats> TestImage::apply(std::string tar, const ApplyLimits& limits) {
    StringSource source(std::move(tar));
    return apply_tar(*device_, source, limits);
}

void TestImage::must_apply(std::string tar) {
    const auto stats = apply(std::move(tar));
    ASSERT_TRUE(stats) << stats.error().message;
    ASSERT_EQ(problems(), "");
}

std::string TestImage::path() const {
    return fmt::format("/proc/{}/fd/{}", getpid(), file_.get());
}

std::string TestImage::problems() const {
    const std::string command = "PATH=$PATH:/sbin:/usr/sbin e2fsck -fn " + path() + " 2>&1";
    FILE* pipe = popen(command.c_str(), "re");
    if (pipe == nullptr) return "e2fsck did not start";
    std::string output;
    std::array<char, 4096> buffer{};
    while (const size_t got = fread(buffer.data(), 1, buffer.size(), pipe)) {
        output.append(buffer.data(), got);
    }
    return pclose(pipe) == 0 ? "" : output;
}

ImageReader TestImage::reader() {
    auto reader = ImageReader::open(*device_);
    EXPECT_TRUE(reader) << reader.error().message;
    return std::move(reader).value();
}

uint64_t TestImage::allocated_bytes() const {
    struct stat info {};
    EXPECT_EQ(fstat(file_.get(), &info), 0);
    return static_cast<uint64_t>(info.st_blocks) * 512;
}

}  // namespace drupe::imagefs::ext4
