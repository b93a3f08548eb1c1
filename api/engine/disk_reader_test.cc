// The helper in its jail, over real disks. Needs root.

#include "api/engine/disk_reader.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <optional>
#include <sstream>
#include <vector>

#include "base/fd.h"
#include "imagefs/ext4/layer_applier.h"
#include "imagefs/import/disk_device.h"
#include "imagefs/import/import.h"

namespace drupe::engine {
namespace {

using imagefs::ByteSource;
using imagefs::ChainId;
using imagefs::DiskDevice;
using imagefs::DiskFiles;
using imagefs::LayeredDisk;
using imagefs::Store;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class NoContent final : public imagefs::ext4::ContentReader {
  public:
    Result<imagefs::ext4::ContentPiece> next() override { return imagefs::ext4::ContentPiece{}; }
};

class DiskReaderTest : public ::testing::Test {
  protected:
    void SetUp() override {
        ASSERT_EQ(::geteuid(), 0U) << "needs root";
        char name[] = "/tmp/drupe-reader-XXXXXX";
        root_ = ::mkdtemp(name);
        auto store = Store::open(root_);
        ASSERT_TRUE(store) << store.error().message;
        store_.emplace(std::move(store).value());
        auto base = imagefs::ensure_layer0(*store_);
        ASSERT_TRUE(base) << base.error().message;
        base_ = base.value();
        ASSERT_TRUE(store_->create_top("box", base_));
        const auto here = std::filesystem::read_symlink("/proc/self/exe").parent_path();
        reader_.emplace(here / "drupe-export");
    }
    void TearDown() override {
        store_.reset();
        if (!root_.empty()) std::filesystem::remove_all(root_);
    }

    void make_files(int count) {
        const auto disk = open();
        DiskDevice device(*disk);
        auto applier = imagefs::ext4::LayerApplier::open(device, {});
        ASSERT_TRUE(applier) << applier.error().message;
        NoContent none;
        for (int i = 0; i < count; ++i) {
            imagefs::ext4::Entry entry;
            entry.path = fmt::format("folder/file-{:05}", i);
            ASSERT_TRUE(applier.value().apply(entry, none));
        }
        ASSERT_TRUE(applier.value().finish());
        ASSERT_TRUE(disk->close());
    }
    std::unique_ptr<LayeredDisk> open() {
        return std::move(LayeredDisk::open(store_->open_top("box").value())).value();
    }
    void overwrite(uint64_t offset, std::string_view bytes) {
        const auto disk = open();
        std::vector<std::byte> block(4096);
        const iovec v{block.data(), block.size()};
        const uint64_t start = offset / 4096 * 4096;
        ASSERT_TRUE(disk->read(start, {&v, 1}));
        std::memcpy(block.data() + (offset - start), bytes.data(), bytes.size());
        ASSERT_TRUE(disk->write(start, {&v, 1}));
        ASSERT_TRUE(disk->close());
    }

    Status diff(std::vector<std::string>& lines) {
        return reader_->diff(store_->open_chain(base_).value(), store_->open_top("box").value(),
                             [&](char kind, std::string_view path) -> Status {
                                 lines.push_back(kind + (" " + std::string(path)));
                                 return ok();
                             });
    }
    Result<std::unique_ptr<ByteSource>> tar() {
        return reader_->layer_tar(store_->open_chain(base_).value(),
                                  store_->open_top("box").value());
    }

    std::string root_;
    std::optional<Store> store_;
    ChainId base_;
    std::optional<DiskReader> reader_;
};

/// The one child of this process.
pid_t child_of_ours() {
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        const auto stat = read_file(entry.path() / "stat", 4096);
        if (!stat) continue;
        const std::string& text = stat.value();
        std::istringstream rest(text.substr(text.rfind(')') + 1));
        std::string state;
        pid_t parent = 0;
        rest >> state >> parent;
        if (parent == ::getpid()) return std::stoi(entry.path().filename());
    }
    return -1;
}

TEST_F(DiskReaderTest, SaysWhatWasAdded) {
    make_files(2);
    std::vector<std::string> lines;
    const auto done = diff(lines);
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_THAT(lines, ElementsAre("A /folder", "A /folder/file-00000", "A /folder/file-00001"));
}

TEST_F(DiskReaderTest, TheHelperHasNothingButItsDescriptors) {
    make_files(2000);  // a tar that doesn't fit into a pipe: the helper waits
    auto source = tar();
    ASSERT_TRUE(source) << source.error().message;
    std::vector<std::byte> buffer(4096);
    ASSERT_TRUE(source.value()->read(buffer));
    const pid_t helper = child_of_ours();
    ASSERT_GT(helper, 0);
    const std::string proc = fmt::format("/proc/{}/", helper);
    const std::string status = read_file(proc + "status", 1 << 16).value();
    EXPECT_THAT(status, HasSubstr(fmt::format("Uid:\t{0}\t{0}\t{0}\t{0}", kReaderUid)));
    EXPECT_THAT(status, HasSubstr("CapPrm:\t0000000000000000"));
    EXPECT_THAT(status, HasSubstr("CapBnd:\t0000000000000000"));
    EXPECT_THAT(status, HasSubstr("NoNewPrivs:\t1"));
    EXPECT_THAT(status, HasSubstr("Seccomp:\t2"));
    EXPECT_TRUE(std::filesystem::is_empty(proc + "root/"));
    for (const char* space : {"net", "mnt", "pid", "user", "ipc"}) {
        const auto of = [&](const std::string& process) {
            return std::filesystem::read_symlink(process + "ns/" + space);
        };
        EXPECT_NE(of(proc), of("/proc/self/")) << space;
    }
    // Three streams, a layer of the base, one of what is above it, the top's two files; all but the
    // pipes only to read. (Indexes are mapped by now, and closed.)
    size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(proc + "fd")) {
        ++count;
        const std::string name = entry.path().filename();
        const std::string info = read_file(proc + "fdinfo/" + name, 4096).value();
        const unsigned flags = std::stoul(info.substr(info.find("flags:") + 6), nullptr, 8);
        const bool writes = name == "1" || name == "2";
        EXPECT_EQ(flags & O_ACCMODE, writes ? O_WRONLY : O_RDONLY) << name;
    }
    EXPECT_EQ(count, 7U);
}

TEST_F(DiskReaderTest, AnEndedSourceEndsTheHelperAndFreesTheDisk) {
    make_files(2000);
    {
        auto source = tar();
        ASSERT_TRUE(source) << source.error().message;
        EXPECT_EQ(store_->open_top("box").error().code, ErrorCode::kConflict);
    }
    EXPECT_EQ(child_of_ours(), -1);
    EXPECT_TRUE(store_->open_top("box"));
}

TEST_F(DiskReaderTest, AJournalThatHasToBeReplayedIsRefused) {
    make_files(1);
    overwrite(1024 + 96, std::string("\xc6\x22\0\0", 4));  // what it has, and needs_recovery
    std::vector<std::string> lines;
    const auto done = diff(lines);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, ErrorCode::kConflict);
    EXPECT_THAT(done.error().message, HasSubstr("journal"));
}

TEST_F(DiskReaderTest, AFeatureThatIsNotKnownIsRefused) {
    make_files(1);
    overwrite(1024 + 96, std::string("\xc2\xa2\0\0", 4));  // inline_data
    std::vector<std::string> lines;
    const auto done = diff(lines);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, ErrorCode::kUnsupported);
    EXPECT_THAT(done.error().message, HasSubstr("0xa2c2"));
}

TEST_F(DiskReaderTest, WithoutTheProgramTheErrorSaysSo) {
    std::vector<std::string> lines;
    reader_.emplace("");
    const auto done = diff(lines);
    ASSERT_FALSE(done);
    EXPECT_THAT(done.error().message, HasSubstr("DRUPE_EXPORT"));
}

}  // namespace
}  // namespace drupe::engine
